#include "gallop/formats/file_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/formats/shards.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/zip_bytes.h"

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::string_literals;

FileKind kind(const std::string& bytes) { return kind_of(std::as_bytes(std::span(bytes))); }

fs::path made(const std::string& name) { return fs::path(GALLOP_TEST_DATA) / name; }

TEST(FileKinds, AreToldByTheFirstBytesWhateverTheName) {
  EXPECT_EQ(kind_of(made("torch/plain.pt")), FileKind::torch);
  EXPECT_EQ(kind_of(made("torch/training-protocol-4.pt")), FileKind::torch);
  EXPECT_EQ(kind_of(made("torch/script.pt")), FileKind::torch);
  EXPECT_EQ(kind_of(made("torch/legacy.pt")), FileKind::torch_legacy);
  EXPECT_EQ(kind_of(made("npz/types.npz")), FileKind::npz);
  EXPECT_EQ(kind_of(made("npz/compressed.npz")), FileKind::npz);
  EXPECT_EQ(kind_of(made("safetensors/types.safetensors")), FileKind::safetensors);
  EXPECT_EQ(kind(""), FileKind::empty);
  EXPECT_EQ(kind("\x80\x02}q\1."), FileKind::pickle);
  EXPECT_EQ(kind("\x80\x04\x95\1\0\0\0\0\0\0\0N."s), FileKind::pickle);
  EXPECT_EQ(kind("\x93NUMPY\1\0"s), FileKind::npy);
  EXPECT_EQ(kind("\x89HDF\r\n\x1a\n"), FileKind::hdf5);
  EXPECT_EQ(kind("GGUF\3\0\0\0"s), FileKind::gguf);
  EXPECT_EQ(kind("\x1f\x8b\x08"), FileKind::gzip);
  EXPECT_EQ(kind(std::string(257, 'x') + "ustar\0"s), FileKind::tar);
  EXPECT_EQ(kind("\x89PNG\r\n\x1a\n"), FileKind::picture);
  EXPECT_EQ(kind("\xff\xd8\xff\xe0"), FileKind::picture);
  EXPECT_EQ(kind(test::zip_bytes({{"a/x", "1"}})), FileKind::zip);
  EXPECT_EQ(kind(test::zip_bytes({{"a/x", "1"}, {"a/data.pkl", "N."}})), FileKind::torch);
  EXPECT_EQ(kind(test::zip_bytes({})), FileKind::zip);
  EXPECT_EQ(kind("\n <!DOCTYPE html><html>"), FileKind::html);
  EXPECT_EQ(kind("\xef\xbb\xbf<HTML lang=en>"), FileKind::html);
  EXPECT_EQ(kind("<?xml version=\"1.0\"?><Error>AccessDenied</Error>"), FileKind::html);
  EXPECT_EQ(kind("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
            FileKind::git_lfs);
  EXPECT_EQ(kind("{\n  \"weight_map\": {}}"), FileKind::json);
  EXPECT_EQ(kind("no tensors"), FileKind::unknown);
  EXPECT_EQ(kind("<b>"), FileKind::unknown);
  EXPECT_EQ(kind("\x02\0\0\0\0\0\0\0{}"s), FileKind::safetensors);
  EXPECT_EQ(kind("\x02\0\0\0\0\0\0\xff{}"s), FileKind::unknown);
  EXPECT_EQ(kind("PK\3\4"), FileKind::zip);
}

// A weights file that is something else is named by what it is, with the way on.
TEST(FileKinds, OtherFilesAreNamedWhereSafetensorsAreWanted) {
  const test::TemporaryDirectory folder;
  const auto error_of = [&](const std::string& name, const std::string& bytes) {
    test::put_file(folder / name, bytes);
    return message_of([&] { WeightsReader reader(folder / name); });
  };
  EXPECT_THAT(error_of("w.safetensors", read_file(made("torch/plain.pt"))),
              AllOf(HasSubstr("w.safetensors': this is a PyTorch checkpoint: gallop convert "),
                    HasSubstr(" w.safetensors")));
  EXPECT_THAT(message_of([&] { WeightsReader reader(made("torch/plain.pt")); }),
              HasSubstr("/torch/plain.pt plain.safetensors"));
  EXPECT_THAT(error_of("a b's.pt", read_file(made("torch/plain.pt"))),
              HasSubstr(R"(a b'\''s.pt' 'a b'\''s.safetensors')"));
  EXPECT_THAT(error_of("a.bin", read_file(made("torch/legacy.pt"))), HasSubstr("before 1.6"));
  EXPECT_THAT(error_of("b", read_file(made("npz/types.npz"))), HasSubstr("gallop convert"));
  EXPECT_THAT(error_of("c.safetensors", "<!doctype html>"),
              AllOf(HasSubstr("a web page (HTML)"), HasSubstr("fetch it again")));
  EXPECT_THAT(error_of("d.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(error_of("e.safetensors", "\x89HDF\r\n\x1a\n"), HasSubstr("HDF5"));
  EXPECT_THAT(error_of("f.safetensors", ""), HasSubstr("an empty file"));
  EXPECT_THAT(error_of("g.safetensors", "\x80\x04\x95rest of it"), HasSubstr("a pickle of Python"));
  EXPECT_THAT(error_of("h.safetensors", test::zip_bytes({{"x", "1"}})), HasSubstr("unpack it"));
  EXPECT_THAT(error_of("i.safetensors", "{\"a\": 1}"), HasSubstr("a JSON text"));
  EXPECT_THAT(error_of("j.safetensors", "nothing known"), HasSubstr("no valid safetensors"));
  // A shard, and an index.
  test::put_file(folder / "k-1.safetensors", "<html>");
  EXPECT_THAT(error_of("k.safetensors.index.json", R"({"weight_map": {"a": "k-1.safetensors"}})"),
              AllOf(HasSubstr("k-1.safetensors"), HasSubstr("web page")));
  EXPECT_THAT(error_of("l.safetensors.index.json", "version https://git-lfs.github.com/spec/v1\n"),
              HasSubstr("git lfs pull"));
}

}  // namespace
}  // namespace gallop::formats
