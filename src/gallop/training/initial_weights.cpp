#include "gallop/training/initial_weights.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/json.h"
#include "gallop/formats/shards.h"
#include "gallop/models/official_names.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/training/checkpoint.h"

namespace gallop::training {
namespace {

constexpr const char* class_table = "y_embedder.embedding_table.weight";

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

std::vector<std::string> lines_of(const std::vector<Difference>& differences) {
  struct Group {
    std::string key;
    Difference first;
    size_t count;
  };
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
  std::vector<std::string> lines;
  for (const auto& [key, first, count] : groups) {
    lines.push_back(count > 1 ? key + " (" + std::to_string(count) + " tensors)"
                              : first.kind + ": " + first.name + first.detail);
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
  for (const std::string& line : lines_of(refused)) list += "\n  " + line;
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
  std::string text;  // what was matched
};

RowMatch match_rows(const models::Model& model, int64_t file_rows, const Classes& file,
                    const std::string& labels, const std::vector<std::string>& class_names,
                    const std::string& what) {
  const int64_t classes = model.args().classes;
  const int64_t file_classes = file.count.value_or(file_rows - (model.has_null_label() ? 1 : 0));
  require(file_rows == file_classes || file_rows == file_classes + 1, what, ": ", class_table,
          " has ", file_rows, " rows where its metadata speak of ", file_classes, " classes");
  RowMatch match;
  std::vector<std::string> fresh;
  if (labels == "index") {
    for (int64_t i = 0; i < std::min(classes, file_classes); ++i) match.rows.push_back({i, i});
    for (int64_t i = file_classes; i < classes; ++i) fresh.push_back(std::to_string(i));
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
               " classes matched by " + labels;
  if (model.has_null_label() && file_rows == file_classes + 1) {
    match.rows.push_back({classes, file_classes});
    match.text += ", the null label too";
  }
  constexpr size_t shown = 10;
  const size_t hidden = fresh.size() - std::min(fresh.size(), shown);
  fresh.resize(fresh.size() - hidden);
  if (hidden > 0) fresh.push_back(std::to_string(hidden) + " more");
  if (!fresh.empty()) match.text += "; fresh: " + join_list(fresh);
  return match;
}

}  // namespace

std::vector<std::string> start_from(models::Model& model, const InitConfig& config,
                                    const std::vector<std::string>& class_names) {
  const std::filesystem::path path = find_weights(config.weights);
  const std::string what = "'" + path.string() + "'";
  const auto reader = std::make_shared<const formats::WeightsReader>(path);
  auto tensors = models::with_our_names(nn::map_tensors(reader));
  const auto found = differences(models::compare(model, tensors));
  require_allowed(found, config, what, model.summary());

  const at::NoGradGuard no_grad;
  std::vector<std::string> lines(1);
  int64_t taken = 0, all = 0;
  for (nn::Parameter* parameter : model.parameters()) {
    const at::Tensor& value = **parameter;
    ++all;
    const auto other = tensors.extract(parameter->name());
    if (other.empty()) continue;
    const at::Tensor& from = other.mapped();
    if (parameter->name() == class_table && from.dim() == 2 && from.size(1) == value.size(1)) {
      const RowMatch match = match_rows(model, from.size(0), classes_of(reader->metadata(), what),
                                        config.labels, class_names, what);
      for (const Row& row : match.rows) value.select(0, row.to).copy_(from.select(0, row.from));
      lines.push_back("class table: " + match.text);
    } else if (from.sizes() == value.sizes()) {
      value.copy_(from);
    } else {
      continue;
    }
    ++taken;
  }
  lines.front() = "started from " + what + ": " + std::to_string(taken) + " of " +
                  std::to_string(all) + " tensors";
  for (const std::string& line : lines_of(found)) lines.push_back(line);
  return lines;
}

}  // namespace gallop::training
