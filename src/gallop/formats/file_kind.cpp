#include "gallop/formats/file_kind.h"

#include <algorithm>
#include <cstdint>

#include "gallop/base/error.h"
#include "gallop/formats/bytes.h"
#include "gallop/formats/zip.h"

namespace gallop::formats {
namespace {

using namespace std::literals;

constexpr size_t looked_at = 512;  // up to the mark of a tar file, and names in a zip file

/// The name of the first file in a zip archive, as far as it is there.
std::string_view first_name(std::string_view bytes) {
  constexpr size_t header = 30, length_at = 26;
  if (bytes.size() < header) return {};
  return bytes.substr(header, read_little<uint16_t>(bytes.data() + length_at));
}

FileKind kind_of_zip(std::string_view bytes, std::span<const std::byte> all) {
  const std::string_view first = first_name(bytes);
  if (first.ends_with(".npy")) return FileKind::npz;
  if (first.ends_with("/data.pkl")) return FileKind::torch;  // torch.save writes it first
  try {
    const ZipArchive archive(all, "");
    for (const ZipEntry& entry : archive.entries())
      if (entry.name.ends_with("/data.pkl")) return FileKind::torch;
  } catch (const Error&) {  // damaged or compressed: then it is no more than a zip file
  }
  return FileKind::zip;
}

/// The length of a header, small-endian, then "{".
bool is_safetensors(std::string_view bytes) {
  constexpr uint64_t longest = 100'000'000;
  constexpr size_t before = 8;
  if (bytes.size() <= before || bytes[before] != '{') return false;
  const auto length = read_little<uint64_t>(bytes.data());
  return length >= 2 && length <= longest;
}

std::string_view without_spaces(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

bool begins_like(std::string_view text, std::string_view word) {
  return text.size() >= word.size() &&
         std::equal(word.begin(), word.end(), text.begin(), [](char w, char c) {
           return w == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
         });
}

FileKind kind_of_text(std::string_view text) {
  if (text.starts_with("version https://git-lfs")) return FileKind::git_lfs;
  text = without_spaces(text);
  for (const std::string_view tag : {"<!doctype html"sv, "<html"sv, "<head"sv, "<?xml"sv})
    if (begins_like(text, tag)) return FileKind::html;
  if (text.starts_with("{\"") || text.starts_with("[")) return FileKind::json;
  if (text.starts_with("{") && without_spaces(text.substr(1)).starts_with("\""))
    return FileKind::json;
  return FileKind::unknown;
}

bool is_tar(std::string_view bytes) {
  constexpr size_t mark_at = 257;
  return bytes.size() > mark_at && bytes.substr(mark_at).starts_with("ustar");
}

/// A path as a shell takes it for one word.
std::string shell_word(const std::string& path) {
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           "+-./:=@_,%"sv.find(c) != std::string_view::npos;
  });
  if (plain) return path;
  std::string word = "'";
  for (const char c : path) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

/// What leads from such a file to one that can be used; empty if the description says it all.
std::string way_on(FileKind kind, const fs::path& path) {
  switch (kind) {
    case FileKind::torch:
    case FileKind::npz:
      return ": gallop convert " + shell_word(path.string()) + " " +
             shell_word(path.filename().replace_extension(".safetensors").string());
    case FileKind::torch_legacy:
      return ": load and save it again with a newer torch, by torch.load(..., weights_only=True)";
    case FileKind::pickle:
      return ": save the tensors by torch.save or safetensors";
    case FileKind::npy:
      return ": save the arrays by name with numpy.savez";
    case FileKind::zip:
    case FileKind::gzip:
    case FileKind::tar:
      return ": unpack it first";
    case FileKind::hdf5:
      return ": save its arrays by name with numpy.savez";
    case FileKind::html:
      return ": it was downloaded from a page about the file, or needs a login; fetch it again";
    case FileKind::git_lfs:
      return ": fetch the file itself, by `git lfs pull`";
    case FileKind::empty:
      return ": was it cut short?";
    default:
      return "";
  }
}

}  // namespace

FileKind kind_of(std::span<const std::byte> all) {
  const std::string_view bytes(reinterpret_cast<const char*>(all.data()),
                               std::min(all.size(), looked_at));
  if (bytes.empty()) return FileKind::empty;
  if (is_safetensors(bytes)) return FileKind::safetensors;
  struct Start {
    std::string_view bytes;
    FileKind kind;
  };
  static constexpr Start starts[] = {
      {"\x80\x02\x8a\x0al\xfc\x9c"sv, FileKind::torch_legacy},
      {"\x80\x02"sv, FileKind::pickle},
      {"\x80\x03"sv, FileKind::pickle},
      {"\x80\x04\x95"sv, FileKind::pickle},
      {"\x80\x05\x95"sv, FileKind::pickle},
      {"\x93NUMPY"sv, FileKind::npy},
      {"\x89HDF\r\n\x1a\n"sv, FileKind::hdf5},
      {"GGUF"sv, FileKind::gguf},
      {"\x1f\x8b"sv, FileKind::gzip},
      {"\x89PNG\r\n\x1a\n"sv, FileKind::picture},
      {"\xff\xd8\xff"sv, FileKind::picture},
  };
  for (const Start& start : starts)
    if (bytes.starts_with(start.bytes)) return start.kind;
  if (bytes.starts_with("PK\3\4")) return kind_of_zip(bytes, all);
  if (bytes.starts_with("PK\5\6")) return FileKind::zip;
  return is_tar(bytes) ? FileKind::tar : kind_of_text(bytes);
}

FileKind kind_of(const fs::path& path) { return kind_of(MappedFile(path).bytes()); }

std::string_view describe(FileKind kind) {
  switch (kind) {
    case FileKind::unknown:
      return "of a format that is not known here";
    case FileKind::empty:
      return "an empty file";
    case FileKind::safetensors:
      return "a safetensors file";
    case FileKind::torch:
      return "a PyTorch checkpoint";
    case FileKind::torch_legacy:
      return "a PyTorch checkpoint in the format of torch before 1.6";
    case FileKind::pickle:
      return "a pickle of Python that torch.save did not write";
    case FileKind::npz:
      return "an npz file of numpy";
    case FileKind::npy:
      return "a single array of numpy";
    case FileKind::zip:
      return "a zip file, not of tensors";
    case FileKind::gzip:
      return "compressed by gzip";
    case FileKind::tar:
      return "a tar archive";
    case FileKind::hdf5:
      return "an HDF5 file, as Keras writes them";
    case FileKind::gguf:
      return "a GGUF file of llama.cpp, which is not read";
    case FileKind::picture:
      return "a picture, not a file of tensors";
    case FileKind::html:
      return "a web page (HTML), not a file of tensors";
    case FileKind::git_lfs:
      return "a pointer of git-LFS in place of the file";
    case FileKind::json:
      return "a JSON text, not a file of tensors";
  }
  return "";
}

void require_kind(const fs::path& path, const std::vector<FileKind>& wanted) {
  const FileKind kind = kind_of(path);
  if (kind == FileKind::unknown || std::find(wanted.begin(), wanted.end(), kind) != wanted.end())
    return;
  fail("'", path.string(), "': this is ", describe(kind), way_on(kind, path));
}

}  // namespace gallop::formats
