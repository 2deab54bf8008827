#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::formats {

/// Writes scalars, images and texts for TensorBoard: TFRecords that hold Event messages of
/// tensorflow/core/util/event.proto. Every call appends one whole record and hands it to the system
/// at once. Each writer makes a file of its own, events.out.tfevents.<unix time>.<host>.<n>, which
/// TensorBoard reads after the earlier ones of the folder.
/// Throws Error (path, reason) where writing fails; the call after that begins another file, since
/// readers stop at a record that is cut short.
class EventWriter {
 public:
  /// Creates the folder. `resumed_at`: the step a run goes on from; TensorBoard then drops what
  /// earlier files hold for this step and later ones.
  explicit EventWriter(fs::path folder, std::optional<int64_t> resumed_at = {});

  void scalar(std::string_view tag, int64_t step, double value);
  /// Several at one step in one record.
  void scalars(const std::vector<std::pair<std::string, double>>& values, int64_t step);
  /// `png` is a whole PNG file of the given size.
  void image(std::string_view tag, int64_t step, std::span<const std::byte> png, int width,
             int height, int channels);
  /// Markdown.
  void text(std::string_view tag, int64_t step, std::string_view text);

  /// The file in use.
  const fs::path& path() const { return path_; }

 private:
  void open();
  void append(const std::string& event);

  fs::path folder_, path_;
  std::unique_ptr<OutputFile> file_;  // null after a failed write
};

/// One value of an event; one of the three is there, none if it is of another kind.
struct EventValue {
  struct Image {
    int64_t width = 0, height = 0, channels = 0;
    std::string png;
  };
  std::string tag;
  std::optional<float> scalar;
  std::optional<Image> image;
  std::optional<std::string> text;
};

struct Event {
  double wall_time = 0;  ///< seconds since 1970
  int64_t step = 0;
  std::string file_version;  ///< "brain.Event:2" in the first event of a file
  bool restart = false;      ///< earlier events of this step and later ones are void
  std::vector<EventValue> values;
};

/// All events of a file; throws Error where a record is cut short, a checksum is wrong or a message
/// is damaged.
std::vector<Event> read_events(const fs::path& path);

}  // namespace gallop::formats
