#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gallop::data {

/// The labels that a model or a data set knows.
struct ClassLabels {
  int64_t classes = 0;             ///< labels 0 to classes - 1
  std::vector<std::string> names;  ///< of labels 0, 1, ...; empty or shorter where unknown
  bool null_label = false;         ///< whether label `classes` stands for "no class"
};

/// A label as someone wrote it.
struct LabelText {
  std::string text;
  bool quoted = false;  ///< a name whatever it looks like
};

/// The entries of a list such as `cat,7,"a, b",none`. An entry in double quotes is a name, in which
/// two of them stand for one. Throws Error for an entry without text and for an open quote.
std::vector<LabelText> split_labels(std::string_view list);

/// One entry by itself, which is not split at commas, and the entry that says it.
LabelText label_of_entry(std::string_view entry);
std::string entry_of(const LabelText& label);

/// What a text was taken for.
struct ResolvedLabel {
  int64_t label = 0;
  std::string note;  ///< the other reading that there was, for the user; empty: none
};

/// The label that a text means; an exact reading comes before any looser one:
///
/// 1. `@none` is always no class and `@7` always label 7, unless quoted;
/// 2. the name of a class, letter by letter;
/// 3. the same without blanks around it; then in another case (A to Z), if it is the only one;
/// 4. a number, unless it could be another class: "3" where class 3 is "04" and class 2 "03";
/// 5. `none`: no class.
///
/// Throws Error with what was meant and what there is, for a number with both its readings; for a
/// number out of range too, the number of classes included: it never means no class.
ResolvedLabel resolve_label(const LabelText& text, const ClassLabels& labels);

/// A label for people, on one line whatever the name holds: "2 'Pullover'", "7", "none".
std::string shown_label(int64_t label, const ClassLabels& labels);
/// The name of a class in quotes, on one line: control characters are escaped.
std::string shown_name(std::string_view name);

}  // namespace gallop::data
