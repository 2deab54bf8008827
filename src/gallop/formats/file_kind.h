#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::formats {

/// What a file is, told by its first bytes (of a zip file also by the names in its directory).
enum class FileKind {
  unknown,
  empty,
  safetensors,
  torch,         ///< torch.save since 1.6, or torch.jit.save
  torch_legacy,  ///< torch.save before 1.6
  pickle,        ///< another pickle
  npz,
  npy,
  zip,  ///< of other things
  gzip,
  tar,
  hdf5,
  gguf,
  picture,
  html,
  git_lfs,  ///< the pointer that git keeps in place of a large file
  json,
};

/// The kind of bytes.
FileKind kind_of(std::span<const std::byte> bytes);
/// The kind of a file. Throws Error if it cannot be read.
FileKind kind_of(const fs::path& path);

/// "a PyTorch checkpoint", "a web page (HTML), not a file of tensors", ...; for an unknown kind
/// what it is not.
std::string_view describe(FileKind kind);

/// Throws Error if the file is of a known kind that is none of `wanted`: what it is, and the
/// command or step that leads on. Unknown ones pass: their reader knows best what is wrong.
void require_kind(const fs::path& path, const std::vector<FileKind>& wanted);

}  // namespace gallop::formats
