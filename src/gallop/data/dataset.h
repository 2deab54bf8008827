#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::data {

/// What a data set holds. Images are [channels, height, width] float32 in [-1, 1]; latents as
/// stored times their scale factor.
struct DatasetInfo {
  std::string kind;  ///< registered name, e.g. "idx"
  std::string path;  ///< what was opened
  int64_t count = 0, channels = 0, height = 0, width = 0;
  int64_t classes = 0;                   ///< 0: no labels
  std::vector<std::string> class_names;  ///< empty if unknown
  int64_t resident_bytes = 0;            ///< of samples that are held in memory
  bool latent = false;                   ///< latents cannot be shown as images
  std::string detail;  ///< encoder, scale factor, crop: one line for `gallop data info`
  /// What a person should know who trains on it: files that are not read, what was guessed.
  std::vector<std::string> notices;
  std::string
      content;  ///< hash by which a change of the data is told (data/identity.h); empty: none
};

/// Random access to samples, from several threads at once.
class Dataset {
 public:
  /// Category and arguments for the registry; `split` is "train" or "test".
  static constexpr const char* category = "dataset";
  struct Args {
    std::string split = "train";
    int64_t channels = 0, height = 0, width = 0;  ///< wanted size, 0: as stored
    bool skip_unreadable = false;  ///< opening does not fail on a sample that cannot be read
    /// The side to which images are made square: `setting`, else what is wanted here; 0: as stored.
    int64_t side(int64_t setting) const {
      return setting > 0 || height != width ? setting : height;
    }
  };

  virtual ~Dataset() = default;
  virtual const DatasetInfo& info() const = 0;
  /// Writes sample `index` as [channels, height, width] floats; -1 if it has no label, else its
  /// label. Throws Error with the file on corrupt data.
  virtual int64_t read(int64_t index, std::span<float> out) const = 0;
  /// The label alone; -1 if it has none. Kinds that know it without reading the sample say so.
  virtual int64_t label(int64_t index) const;
};

/// `byte` of 0..255 as a value in [-1, 1].
constexpr float to_unit(uint8_t byte) { return static_cast<float>(byte) / 127.5f - 1.0f; }

/// The [data] table of a recipe.
struct DataConfig : config::Fields<DataConfig> {
  config::Component source{"dataset", "idx"};
  bool flip = false;
  int64_t workers = 1, queue = 4;
  std::string on_error = "stop";
  bool skips_unreadable() const { return on_error == "skip"; }
  void fields(config::Visitor& v) override;
};

/// Opens the data set of a recipe's [data] table; Error if it is empty or not of the wanted size.
std::unique_ptr<Dataset> open_dataset(const DataConfig& config, const Dataset::Args& args);

}  // namespace gallop::data
