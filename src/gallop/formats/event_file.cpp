#include "gallop/formats/event_file.h"

#include <unistd.h>

#include <array>
#include <cctype>
#include <chrono>

#include "gallop/base/error.h"
#include "gallop/formats/bytes.h"
#include "gallop/formats/crc32c.h"
#include "gallop/formats/protobuf.h"

// A TFRecord is: length (8 bytes), masked CRC of those, data, masked CRC of the data;
// little-endian. Field numbers are those of event.proto, summary.proto, tensor.proto and
// tensor_shape.proto.

namespace gallop::formats {
namespace {

constexpr std::string_view version = "brain.Event:2";
constexpr int event_wall_time = 1, event_step = 2, event_file_version = 3, event_summary = 5,
              event_session_log = 7;
constexpr int session_status = 1, session_start = 1;
constexpr int summary_value = 1;
constexpr int value_tag = 1, value_scalar = 2, value_image = 4, value_tensor = 8,
              value_metadata = 9;
constexpr int image_height = 1, image_width = 2, image_channels = 3, image_bytes = 4;
constexpr int metadata_plugin = 1, plugin_name = 1;
constexpr int tensor_dtype = 1, tensor_shape = 2, tensor_strings = 8, dtype_string = 7;
constexpr int shape_dim = 2, dim_size = 1;

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

ProtoWriter event_at(int64_t step) {
  ProtoWriter event;
  event.real(event_wall_time, now_seconds());
  event.integer(event_step, step);
  return event;
}

std::string event_with(int64_t step, const ProtoWriter& summary) {
  ProtoWriter event = event_at(step);
  event.message(event_summary, summary);
  return event.str();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  std::string host = name.data();
  for (char& c : host)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '-';
  return host;
}

EventValue::Image read_image(std::string_view message) {
  EventValue::Image image;
  ProtoReader reader(message);
  while (const auto f = reader.next()) {
    if (f->number == image_height) image.height = f->integer();
    if (f->number == image_width) image.width = f->integer();
    if (f->number == image_channels) image.channels = f->integer();
    if (f->number == image_bytes) image.png = f->string();
  }
  return image;
}

EventValue read_value(std::string_view message) {
  EventValue value;
  ProtoReader reader(message);
  while (const auto f = reader.next()) {
    if (f->number == value_tag) value.tag = f->string();
    if (f->number == value_scalar) value.scalar = f->real32();
    if (f->number == value_image) value.image = read_image(f->string());
    if (f->number != value_tensor) continue;
    ProtoReader tensor(f->string());
    while (const auto t = tensor.next())
      if (t->number == tensor_strings) value.text = t->string();
  }
  return value;
}

Event read_event(std::string_view message) {
  Event event;
  ProtoReader reader(message);
  while (const auto f = reader.next()) {
    if (f->number == event_wall_time) event.wall_time = f->real();
    if (f->number == event_step) event.step = f->integer();
    if (f->number == event_file_version) event.file_version = f->string();
    if (f->number == event_session_log) {
      ProtoReader log(f->string());
      while (const auto s = log.next())
        if (s->number == session_status) event.restart = s->integer() == session_start;
    }
    if (f->number != event_summary) continue;
    ProtoReader summary(f->string());
    while (const auto v = summary.next())
      if (v->number == summary_value) event.values.push_back(read_value(v->string()));
  }
  return event;
}

}  // namespace

EventWriter::EventWriter(fs::path folder, std::optional<int64_t> resumed_at)
    : folder_(std::move(folder)) {
  file_system().make_directories(folder_);
  open();
  if (resumed_at) {
    ProtoWriter log, event = event_at(*resumed_at);
    log.integer(session_status, session_start);
    event.message(event_session_log, log);
    append(event.str());
  }
}

void EventWriter::open() {
  const auto seconds = static_cast<int64_t>(now_seconds());
  const std::string stem =
      "events.out.tfevents." + std::to_string(seconds) + "." + host_name() + ".";
  int n = 0;
  do {
    path_ = folder_ / (stem + std::to_string(n++));
  } while (is_there(path_));  // what cannot be looked at cannot be created either, which says why
  file_ = file_system().create(path_);
  ProtoWriter event;
  event.real(event_wall_time, now_seconds());
  event.bytes(event_file_version, version);
  append(event.str());
}

void EventWriter::append(const std::string& event) {
  if (!file_) open();
  std::string record;
  append_little<uint64_t>(record, event.size());
  append_little<uint32_t>(record, masked_crc(record));
  record += event;
  append_little<uint32_t>(record, masked_crc(event));
  try {
    file_->write(record);
  } catch (...) {
    file_.reset();
    throw;
  }
}

void EventWriter::scalar(std::string_view tag, int64_t step, double value) {
  scalars({{std::string(tag), value}}, step);
}

void EventWriter::scalars(const std::vector<std::pair<std::string, double>>& values, int64_t step) {
  ProtoWriter summary;
  for (const auto& [tag, v] : values) {
    ProtoWriter value;
    value.bytes(value_tag, tag);
    value.real32(value_scalar, static_cast<float>(v));
    summary.message(summary_value, value);
  }
  append(event_with(step, summary));
}

void EventWriter::image(std::string_view tag, int64_t step, std::span<const std::byte> png,
                        int width, int height, int channels) {
  ProtoWriter image, value, summary;
  image.integer(image_height, height);
  image.integer(image_width, width);
  image.integer(image_channels, channels);
  image.bytes(image_bytes, {reinterpret_cast<const char*>(png.data()), png.size()});
  value.bytes(value_tag, tag);
  value.message(value_image, image);
  summary.message(summary_value, value);
  append(event_with(step, summary));
}

void EventWriter::text(std::string_view tag, int64_t step, std::string_view text) {
  ProtoWriter plugin, metadata, dim, shape, tensor, value, summary;
  plugin.bytes(plugin_name, "text");
  metadata.message(metadata_plugin, plugin);
  dim.integer(dim_size, 1);
  shape.message(shape_dim, dim);
  tensor.integer(tensor_dtype, dtype_string);
  tensor.message(tensor_shape, shape);
  tensor.bytes(tensor_strings, text);
  value.bytes(value_tag, tag);
  value.message(value_tensor, tensor);
  value.message(value_metadata, metadata);
  summary.message(summary_value, value);
  append(event_with(step, summary));
}

std::vector<Event> read_events(const fs::path& path) {
  const std::string content = read_file(path);
  std::string_view rest = content;
  std::vector<Event> events;
  while (!rest.empty()) {
    const std::string where = "'" + path.string() + "' is damaged at byte " +
                              std::to_string(content.size() - rest.size()) + ": ";
    require(rest.size() >= 12, where, "a record is cut short");
    require(masked_crc(rest.substr(0, 8)) == read_little<uint32_t>(rest.data() + 8), where,
            "wrong checksum of a length");
    const uint64_t size = read_little<uint64_t>(rest.data());
    require(rest.size() >= 16 && size <= rest.size() - 16, where, "a record is cut short");
    const std::string_view data = rest.substr(12, size);
    require(masked_crc(data) == read_little<uint32_t>(rest.data() + 12 + size), where,
            "wrong checksum");
    try {
      events.push_back(read_event(data));
    } catch (const Error& e) {
      fail(where, e.what());
    }
    rest.remove_prefix(16 + size);
  }
  return events;
}

}  // namespace gallop::formats
