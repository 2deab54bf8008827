#include "gallop/runs/run_log.h"

#include <chrono>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/log.h"
#include "gallop/formats/event_file.h"

namespace gallop::runs {
namespace {

/// The step of a line; empty for what is no line of a log.
std::optional<int64_t> step_of(std::string_view line) {
  try {
    return Json::parse(line, "log.jsonl").at("step").as_int();
  } catch (const Error&) {
    return {};
  }
}

/// The lines up to a step. Others are dropped: those of steps that will be taken again, and those
/// that are no JSON, which a killed run leaves at the end.
std::string lines_up_to(int64_t last_step, std::string_view text, const std::string& path) {
  std::string kept;
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    const std::string_view line = text.substr(begin, end + 1 - begin);
    begin = end + 1;
    const auto step = step_of(line);
    if (!step) log_warning(path, ":", number, ": no line of a log; dropped");
    if (step && *step <= last_step) kept += line;
  }
  return kept;
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

struct RunLog::State {
  std::filesystem::path path;
  std::unique_ptr<OutputFile> file;  // null after a failed write
  int64_t last_step = 0;             // of the lines that are in the file
  std::optional<formats::EventWriter> events;

  /// Opens log.jsonl behind its lines up to `last_step`.
  void open() {
    std::error_code error;
    if (std::filesystem::exists(path, error)) {
      const std::string text = read_file(path);
      const std::string kept = lines_up_to(last_step, text, path.string());
      if (kept != text) write_file_atomically(path, kept);
    }
    file = file_system().append(path);
  }

  void append(int64_t step, const std::string& line) {
    if (!file) open();
    try {
      file->write(line);
      last_step = step;
    } catch (...) {
      file.reset();
      throw;
    }
  }
};

RunLog::RunLog(const std::filesystem::path& run_directory, const Options& options)
    : state_(std::make_unique<State>()) {
  const bool fresh = options.resumed_step == 0;
  file_system().make_directories(run_directory);
  state_->path = run_directory / "log.jsonl";
  state_->last_step = fresh ? -1 : options.resumed_step;
  state_->open();
  if (options.tensorboard) {
    // Events of the resumed step itself stay: they were written before its checkpoint.
    state_->events.emplace(run_directory, fresh ? 0 : options.resumed_step + 1);
  }
}

RunLog::~RunLog() = default;

void RunLog::write(int64_t step, const std::string& kind,
                   const std::vector<std::pair<std::string, double>>& values) {
  Json::Object line{{"step", step}, {"time", unix_seconds()}, {"kind", kind}};
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : values) {
    line.emplace_back(name, value);
    scalars.emplace_back(kind + "/" + name, value);
  }
  state_->append(step, Json(std::move(line)).dump() + "\n");
  if (state_->events) state_->events->scalars(scalars, step);
}

void RunLog::sync() const {
  // Through a descriptor of its own, which makes what all others wrote durable too.
  file_system().append(state_->path)->sync();
}

void RunLog::artifact(int64_t step, const formats::Artifact& artifact) {
  if (!state_->events) return;
  if (const auto* image = std::get_if<formats::Image>(&artifact.content)) {
    const std::string png = formats::encode_png(*image);
    state_->events->image(artifact.name, step, std::as_bytes(std::span(png)),
                          static_cast<int>(image->width), static_cast<int>(image->height),
                          static_cast<int>(image->channels));
    return;
  }
  const std::string text = formats::to_markdown(artifact);
  if (!text.empty()) state_->events->text(artifact.name, step, text);
}

}  // namespace gallop::runs
