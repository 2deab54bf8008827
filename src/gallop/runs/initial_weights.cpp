#include "gallop/runs/initial_weights.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/json.h"
#include "gallop/base/log.h"
#include "gallop/base/text.h"
#include "gallop/formats/shards.h"
#include "gallop/models/fitted_names.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/checkpoint.h"

namespace gallop::runs {
namespace {

// ---- differences and what is allowed --------------------------------------------------------

struct Difference {
  std::string kind;  // "new", "missing" or "reshaped", as in `allow`
  std::string name, detail;
};

std::vector<Difference> differences(const models::WeightsReport& report) {
  std::vector<Difference> all;
  for (const std::string& name : report.missing) all.push_back({"new", name, ""});
  for (const std::string& name : report.unexpected) all.push_back({"missing", name, ""});
  for (const auto& r : report.reshaped) {
    all.push_back({"reshaped", r.name,
                   ": file " + shape_text(r.found) + ", model " + shape_text(r.expected)});
  }
  return all;
}

bool allows(const std::vector<std::string>& allow, const Difference& d) {
  return std::any_of(allow.begin(), allow.end(), [&](const std::string& entry) {
    return entry == d.kind || entry == d.name || d.name.starts_with(entry + ".");
  });
}

// "blocks.3.moe.x" and its like in the other blocks make one line "blocks.*.moe.x (12 tensors)".
std::string pattern_of(const std::string& name) {
  std::string pattern;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    pattern += (begin == 0 ? "" : ".") + (number ? "*" : part);
    begin = end + 1;
  }
  return pattern;
}

struct Group {
  std::string key;  // kind and pattern
  Difference first;
  size_t count;
};

std::vector<Group> groups_of(const std::vector<Difference>& differences) {
  std::vector<Group> groups;
  for (const Difference& d : differences) {
    const std::string key = d.kind + ": " + pattern_of(d.name) + d.detail;
    const auto known = std::find_if(groups.begin(), groups.end(),
                                    [&](const Group& group) { return group.key == key; });
    if (known != groups.end()) {
      ++known->count;
    } else {
      groups.push_back({key, d, 1});
    }
  }
  return groups;
}

std::string line_of(const Group& group) {
  return group.count > 1 ? group.key + " (" + std::to_string(group.count) + " tensors)"
                         : group.first.kind + ": " + group.first.name + group.first.detail;
}

std::vector<std::string> lines_of(const std::vector<Difference>& differences) {
  std::vector<std::string> lines;
  for (const Group& group : groups_of(differences)) lines.push_back(line_of(group));
  return lines;
}

// The same, and for what is new the name in the file that is nearest.
std::vector<std::string> lines_with_nearest(const std::vector<Difference>& differences,
                                            const std::vector<Difference>& all) {
  constexpr size_t most = 20;  // groups that are looked up: each costs a comparison with all names
  std::vector<std::string> in_file;
  for (const Group& group : groups_of(all))
    if (group.first.kind == "missing") in_file.push_back(pattern_of(group.first.name));
  std::vector<std::string> lines;
  for (const Group& group : groups_of(differences)) {
    lines.push_back(line_of(group));
    if (group.first.kind != "new" || lines.size() > most) continue;
    const std::string near = nearest(pattern_of(group.first.name), in_file);
    if (!near.empty()) lines.back() += "; the nearest in the file: " + near;
  }
  return lines;
}

void require_allowed(const std::vector<Difference>& all, const InitConfig& config,
                     const std::string& what, const std::string& model) {
  std::vector<Difference> refused;
  std::copy_if(all.begin(), all.end(), std::back_inserter(refused),
               [&](const Difference& d) { return !allows(config.allow, d); });
  if (refused.empty()) return;
  std::string list, setting;
  for (const std::string& line : lines_with_nearest(refused, all)) list += "\n  " + line;
  std::vector<std::string> allow = config.allow;
  for (const Difference& d : refused) {
    if (std::find(allow.begin(), allow.end(), d.kind) == allow.end()) allow.push_back(d.kind);
  }
  for (const std::string& entry : allow)
    setting += (setting.empty() ? "\"" : ", \"") + entry + "\"";
  fail(what, " differs from the model (", model, "):", list,
       "\nnew: in the model only; missing: in the file only. If that is meant, allow it by name or "
       "kind: --set 'init.allow=[",
       setting, "]'");
}

// ---- the class table ------------------------------------------------------------------------

struct Classes {
  std::optional<int64_t> count;
  std::vector<std::string> names;
};

Classes classes_of(const formats::Metadata& metadata, const std::string& what) {
  Classes classes;
  const auto read_names = [&](const Json& names) {
    for (const Json& name : names.as_array()) classes.names.push_back(name.as_string());
  };
  if (const auto data = metadata.find("data"); data != metadata.end()) {
    const Json info = Json::parse(data->second, what + ", metadata 'data'");
    classes.count = info.at("classes").as_int();
    read_names(info.at("class_names"));
  } else if (const auto names = metadata.find("class_names"); names != metadata.end()) {
    read_names(Json::parse(names->second, what + ", metadata 'class_names'"));
    classes.count = static_cast<int64_t>(classes.names.size());
  }
  return classes;
}

struct Row {
  int64_t to, from;
};

struct RowMatch {
  std::vector<Row> rows;
  std::string text;     // what was matched
  std::string warning;  // what may be meant otherwise; empty: nothing
};

// Whether the last row of the file's class table is that of the null label.
bool has_null_row(const models::ClassTable& own, int64_t rows, const Classes& file,
                  const InitConfig& config, const std::string& what) {
  const std::string table = own.table->name();
  if (file.count) {
    require(rows == *file.count || rows == *file.count + 1, what, ": ", table, " has ", rows,
            " rows where its metadata speak of ", *file.count, " classes");
    const bool last = rows == *file.count + 1;
    require(config.null_row == "auto" || (config.null_row == "last") == last, what, ": ", table,
            " has ", rows, " rows and its metadata speak of ", *file.count,
            " classes, which init.null_row = \"", config.null_row, "\" contradicts");
    return last;
  }
  if (config.null_row != "auto") return config.null_row == "last";
  const int64_t classes = own.classes;
  require(rows == classes || rows == classes + 1, what, ": ", table, " has ", rows,
          " rows and the model ", classes,
          " classes, so that it cannot be told whether the last row is that of the null label "
          "(\"no class\"). Say which: --set init.null_row=last, or --set init.null_row=none");
  return rows == classes + 1;
}

// Classes that stand at the same index under different names.
std::string other_names(const std::vector<std::string>& file,
                        const std::vector<std::string>& data) {
  for (size_t i = 0; i < std::min(file.size(), data.size()); ++i) {
    if (file[i] != data[i])
      return "class " + std::to_string(i) + " is " + in_quotes(file[i]) + " in the file and " +
             in_quotes(data[i]) +
             " in the data, and has the same row: init.labels = \"name\" "
             "matches by name";
  }
  return "";
}

RowMatch match_rows(const models::ClassTable& own, int64_t file_rows, const Classes& file,
                    const InitConfig& config, const std::vector<std::string>& class_names,
                    const std::string& what) {
  const int64_t classes = own.classes;
  const bool null_row = has_null_row(own, file_rows, file, config, what);
  const int64_t file_classes = file_rows - (null_row ? 1 : 0);
  RowMatch match;
  std::vector<std::string> fresh;
  if (config.labels == "index") {
    for (int64_t i = 0; i < std::min(classes, file_classes); ++i) match.rows.push_back({i, i});
    for (int64_t i = file_classes; i < classes; ++i) fresh.push_back(std::to_string(i));
    match.warning = other_names(file.names, class_names);
  } else {
    require(!class_names.empty() && !file.names.empty(),
            "init.labels = \"name\" needs names on both sides: the data have ", class_names.size(),
            ", ", what, " has ", file.names.size(), "; \"index\" goes without");
    for (size_t i = 0; i < class_names.size(); ++i) {
      const auto found = std::find(file.names.begin(), file.names.end(), class_names[i]);
      if (found == file.names.end()) {
        fresh.push_back(class_names[i]);
      } else {
        match.rows.push_back({static_cast<int64_t>(i), found - file.names.begin()});
      }
    }
  }
  match.text = std::to_string(match.rows.size()) + " of " + std::to_string(classes) +
               " classes matched by " + config.labels;
  if (own.null_row && null_row) {
    match.rows.push_back({classes, file_classes});
    match.text += ", the null label too";
  } else if (own.null_row) {
    fresh.emplace_back("the null label, for which the file has no row");
  } else if (null_row) {
    match.text += "; the file's row of the null label is left out";
  }
  constexpr size_t shown = 10;
  if (fresh.size() > shown) {
    // The null label is the last one, and no class among many.
    const size_t hidden = fresh.size() - shown;
    fresh.erase(fresh.begin() + shown - 1, fresh.end() - 1);
    fresh.push_back(std::to_string(hidden) + " more");
  }
  if (!fresh.empty()) match.text += "; fresh: " + join_list(fresh);
  return match;
}

}  // namespace

std::vector<std::string> start_from(models::Model& model, const InitConfig& config,
                                    const std::vector<std::string>& class_names) {
  const std::filesystem::path path = find_weights(config.weights);
  const std::string what = "'" + path.string() + "'";
  const auto reader = std::make_shared<const formats::WeightsReader>(path);
  models::FittedNames fitted =
      models::fit_names(model, nn::map_tensors(reader), what, config.names);
  auto& tensors = fitted.tensors;
  const models::WeightsReport report = models::compare(model, tensors);
  // Nothing to start from: no allowance makes that anything but a fresh model.
  require(report.matching > 0, what, " holds no tensor of the model (", model.summary(),
          ") by name and shape: it would start from fresh weights, whatever init.allow says. ",
          models::names_of_both(model, tensors));
  const auto found = differences(report);
  require_allowed(found, config, what, model.summary());
  std::optional<RowMatch> rows;  // before anything is copied, since it may be refused
  const auto classes = model.class_table();
  if (const auto table = tensors.find(classes ? classes->table->name() : "");
      table != tensors.end() && table->second.dim() == 2 &&
      table->second.size(1) == classes->table->shape()[1]) {
    rows = match_rows(*classes, table->second.size(0), classes_of(reader->metadata(), what), config,
                      class_names, what);
    if (!rows->warning.empty()) log_warning(what, ": ", rows->warning);
  }

  const at::NoGradGuard no_grad;
  std::vector<std::string> lines(1);
  int64_t taken = 0, all = 0;
  for (nn::Parameter* parameter : model.parameters()) {
    const at::Tensor& value = **parameter;
    ++all;
    const auto other = tensors.extract(parameter->name());
    if (other.empty() || report.is_recomputed(parameter->name())) continue;
    const at::Tensor& from = other.mapped();
    if (rows && parameter == classes->table) {
      for (const Row& row : rows->rows) value.select(0, row.to).copy_(from.select(0, row.from));
      lines.push_back("class table: " + rows->text);
    } else if (from.sizes() == value.sizes()) {
      value.copy_(from);
    } else {
      continue;
    }
    ++taken;
  }
  lines.front() = "started from " + what + ": " + std::to_string(taken) + " of " +
                  std::to_string(all) + " tensors";
  for (const std::string& note : fitted.notes) lines.push_back(note);
  for (const std::string& line : report.recomputed_lines()) lines.push_back(line);
  for (const std::string& line : lines_of(found)) lines.push_back(line);
  return lines;
}

std::vector<std::string> start_from(models::Model& model, const InitConfig& config,
                                    const Json& data) {
  std::vector<std::string> class_names;
  if (const Json* names = data.find("class_names")) {
    for (const Json& name : names->as_array()) class_names.push_back(name.as_string());
  }
  return start_from(model, config, class_names);
}

}  // namespace gallop::runs
