#include "gallop/data/class_labels.h"

#include <algorithm>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/base/number.h"
#include "gallop/base/text.h"

namespace gallop::data {
namespace {

constexpr char always = '@';
constexpr std::string_view no_class = "none";

template <class Matches>
std::vector<int64_t> labels_where(const ClassLabels& labels, Matches matches) {
  std::vector<int64_t> found;
  for (size_t i = 0; i < labels.names.size(); ++i) {
    if (matches(labels.names[i])) found.push_back(static_cast<int64_t>(i));
  }
  return found;
}

std::string shown_all(const std::vector<int64_t>& found, const ClassLabels& labels) {
  std::vector<std::string> texts;
  for (const int64_t label : found) texts.push_back(shown_label(label, labels));
  return join_list(texts);
}

std::string always_list(const std::vector<int64_t>& found) {
  std::vector<std::string> texts;
  for (const int64_t label : found) texts.push_back(always + std::to_string(label));
  return join_list(texts, "or");
}

/// What there is, in a few words.
std::string known(const ClassLabels& labels) {
  constexpr size_t most = 12;
  std::vector<std::string> texts;
  for (const std::string& name : labels.names) {
    if (texts.size() == most) {
      texts.push_back(std::to_string(labels.names.size() - most) + " more");
      break;
    }
    texts.push_back(shown_name(name));
  }
  return join_list(texts);
}

bool in_range(int64_t label, const ClassLabels& labels) {
  return label >= 0 && label < labels.classes;
}

int64_t null_label(const ClassLabels& labels) {
  require(labels.null_label,
          "there is no label for 'no class': this model was trained without a null label "
          "(task.model.label_dropout = 0)");
  return labels.classes;
}

[[noreturn]] void fail_out_of_range(const std::string& number, const ClassLabels& labels,
                                    const std::string& hint = {}) {
  fail("label ", number, " is out of range: the model knows 0 to ", labels.classes - 1,
       labels.null_label ? ", and 'none' for no class" : "", hint);
}

int64_t number_in_range(const std::string& text, const ClassLabels& labels) {
  const auto number = whole_number<int64_t>(text);
  if (!number || !in_range(*number, labels)) fail_out_of_range(text, labels);
  return *number;
}

bool is_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// A to Z as a to z; all other bytes, those of UTF-8 among them, as they are.
std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// The class of that name, if there is one.
std::optional<ResolvedLabel> by_name(const LabelText& label, const ClassLabels& labels) {
  const std::string& text = label.text;
  const auto exact = labels_where(labels, [&](const std::string& name) { return name == text; });
  require(exact.size() < 2, "label ", shown_name(text), ": ", exact.size(),
          " classes have this name, ", shown_all(exact, labels), "; say ", always_list(exact));
  if (!exact.empty()) {
    ResolvedLabel found{exact[0], ""};
    const auto number = whole_number<int64_t>(text);
    if (!label.quoted && number && in_range(*number, labels) && *number != found.label) {
      found.note = "label " + text + " is taken for the class of this name, number " +
                   std::to_string(found.label) + "; by number it is " +
                   shown_label(*number, labels) + ": " + always + text;
    }
    return found;
  }
  const std::string lower = lower_case(text);
  const auto loose =
      labels_where(labels, [&](const std::string& name) { return lower_case(name) == lower; });
  require(loose.size() < 2, "label ", shown_name(text), ": no class has exactly this name, and ",
          loose.size(), " have it in another case: ", shown_all(loose, labels));
  if (loose.empty()) return std::nullopt;
  ResolvedLabel found{loose[0], ""};
  if (!label.quoted && lower == no_class) {
    found.note = "label " + text + " is taken for class " + shown_label(found.label, labels) +
                 "; no class is " + always + std::string(no_class);
  }
  return found;
}

int64_t by_number(const std::string& text, const ClassLabels& labels) {
  const auto number = whole_number<int64_t>(text);
  const auto others = labels_where(labels, [&](const std::string& name) {
    return number && is_number(name) && whole_number<int64_t>(name) == number;
  });
  if (!number || !in_range(*number, labels)) {
    fail_out_of_range(text, labels,
                      others.empty() ? ""
                                     : "; did you mean class " + shown_all(others, labels) +
                                           "? Then write its name as it is");
  }
  const bool other =
      std::any_of(others.begin(), others.end(), [&](int64_t label) { return label != *number; });
  require(!other, "label ", text, " has two readings: by number it is ",
          shown_label(*number, labels), ", and as a name nearly class ", shown_all(others, labels),
          "; say ", always, *number, " for the number, or write the name as it is");
  return *number;
}

}  // namespace

std::vector<LabelText> split_labels(std::string_view list) {
  std::vector<LabelText> entries;
  for (size_t at = 0; at <= list.size(); ++at) {
    LabelText entry;
    if (at < list.size() && list[at] == '"') {
      entry.quoted = true;
      for (++at;; ++at) {
        require(at < list.size(), "labels ", shown_name(list),
                ": a double quote is not closed; a name that begins with one can be given with "
                "--label");
        if (list[at] != '"') {
          entry.text += list[at];
        } else if (at + 1 < list.size() && list[at + 1] == '"') {
          entry.text += list[at++];
        } else {
          break;
        }
      }
      require(++at == list.size() || list[at] == ',', "labels ", shown_name(list),
              ": after a name in quotes comes a comma or the end");
    } else {
      const size_t end = std::min(list.find(',', at), list.size());
      entry.text = list.substr(at, end - at);
      require(!trimmed(entry.text).empty(), "labels ", shown_name(list),
              ": an entry is empty; 'none' is no class, and a name with a comma stands in double "
              "quotes");
      at = end;
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

LabelText label_of_entry(std::string_view entry) {
  const bool in_quotes = entry.size() > 1 && entry.starts_with('"') && entry.ends_with('"');
  if (!in_quotes) return {.text = std::string(entry)};
  const std::vector<LabelText> labels = split_labels(entry);
  require(labels.size() == 1, "labels ", shown_name(entry), ": ", labels.size(),
          " names in quotes stand in one entry");
  return labels.front();
}

std::string entry_of(const LabelText& label) {
  if (!label.quoted && !label.text.starts_with('"')) return label.text;
  std::string entry = "\"";
  for (const char c : label.text) entry += c == '"' ? std::string("\"\"") : std::string(1, c);
  return entry + "\"";
}

ResolvedLabel resolve_label(const LabelText& label, const ClassLabels& labels) {
  const std::string& text = label.text;
  if (!label.quoted && text.starts_with(always)) {
    const std::string rest = text.substr(1);
    if (rest == no_class) return {null_label(labels), ""};
    if (is_number(rest)) return {number_in_range(rest, labels), ""};
  }
  if (const auto found = by_name(label, labels)) {
    require(in_range(found->label, labels), "label ", shown_name(text), " is class ", found->label,
            " of the data, and the model knows 0 to ", labels.classes - 1);
    return *found;
  }
  if (const std::string inner = trimmed(text); inner != text && !inner.empty())
    return resolve_label({inner, label.quoted}, labels);
  if (!label.quoted && is_number(text)) return {by_number(text, labels), ""};
  if (!label.quoted && lower_case(text) == no_class) return {null_label(labels), ""};
  require(!labels.names.empty(), "label ", shown_name(text),
          " is not a number, and these weights name no classes: use 0 to ", labels.classes - 1);
  const std::string meant = nearest(text, labels.names);
  fail("label ", shown_name(text),
       label.quoted ? " is none of the classes" : " is neither a number nor one of the classes",
       meant.empty() ? "." : "; did you mean " + shown_name(meant) + "?", " There are ",
       known(labels));
}

std::string shown_label(int64_t label, const ClassLabels& labels) {
  if (label == labels.classes && labels.null_label) return std::string(no_class);
  const bool named = label >= 0 && label < static_cast<int64_t>(labels.names.size());
  return std::to_string(label) +
         (named ? " " + shown_name(labels.names[static_cast<size_t>(label)]) : "");
}

std::string shown_name(std::string_view name) {
  constexpr size_t most = 80;
  std::string text = "'";
  for (const char c : name.substr(0, most)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      text += c;
      continue;
    }
    text += c == '\n' ? "\\n" : format("\\x%02x", static_cast<unsigned>(c) & 0xffU);
  }
  return text + (name.size() > most ? "...'" : "'");
}

}  // namespace gallop::data
