#include "gallop/base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <thread>

#include "gallop/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"

namespace gallop {
namespace {

using ::gallop::testing::message_of;
using test::FailingFileSystem;
using test::TemporaryDirectory;
using Fault = FailingFileSystem::Fault;
using Lost = FailingFileSystem::Lost;

void put(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), {}));
}

TEST(File, IsThereAndIsAFolder) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "file", "x");
  EXPECT_TRUE(is_there(dir.path()));
  EXPECT_TRUE(is_folder(dir.path()));
  EXPECT_TRUE(is_there(dir / "file"));
  EXPECT_FALSE(is_folder(dir / "file"));
  for (const fs::path& path : {dir / "none", dir / "file" / "below", dir / std::string(300, 'x')}) {
    EXPECT_FALSE(is_there(path));
    EXPECT_FALSE(is_folder(path));
  }
}

TEST(ReadFile, ReadsAll) {
  TemporaryDirectory dir;
  const std::string big(100'000, 'x');
  put(dir / "big", big);
  put(dir / "empty", "");
  EXPECT_EQ(read_file(dir / "big"), big);
  EXPECT_EQ(read_file(dir / "empty"), "");
  EXPECT_NE(read_file("/proc/self/status"), "");  // says that it has 0 bytes
}

TEST(ReadFile, SaysWhatIsWrong) {
  TemporaryDirectory dir;
  const std::string missing = message_of([&] { read_file(dir / "missing"); });
  EXPECT_THAT(missing, ::testing::HasSubstr("missing"));
  EXPECT_THAT(missing, ::testing::HasSubstr("No such file"));
  EXPECT_THAT(message_of([&] { read_file(dir.path()); }), ::testing::HasSubstr("folder"));
}

TEST(ListFolder, IsSortedByName) {
  TemporaryDirectory dir;
  for (const char* name : {"b", "a", "B", "a10", "a9", ".h"}) put(dir / name, "");
  std::vector<std::string> names;
  for (const fs::path& path : list_folder(dir.path())) names.push_back(path.filename().string());
  EXPECT_EQ(names, (std::vector<std::string>{".h", "B", "a", "a10", "a9", "b"}));
  EXPECT_TRUE(list_folder(dir.path())[1] == dir / "B");
  EXPECT_THAT(message_of([&] { list_folder(dir / "none"); }), ::testing::HasSubstr("No such file"));
  EXPECT_THAT(message_of([&] { list_folder(dir / "a"); }), ::testing::HasSubstr("Not a directory"));
}

TEST(MappedFile, ShowsTheBytesAndSharesThem) {
  TemporaryDirectory dir;
  put(dir / "a", "hello");
  put(dir / "empty", "");
  std::optional<MappedFile> first(dir / "a");
  const MappedFile copy = *first;
  first.reset();
  fs::remove(dir / "a");  // the map stays
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(copy.bytes().data()), copy.bytes().size()),
            "hello");
  EXPECT_EQ(copy.path(), dir / "a");
  EXPECT_TRUE(MappedFile(dir / "empty").bytes().empty());
  EXPECT_THAT(message_of([&] { MappedFile m(dir / "none"); }), ::testing::HasSubstr("none"));
  EXPECT_THAT(message_of([&] { MappedFile m(dir.path()); }), ::testing::HasSubstr("folder"));
  EXPECT_THAT(message_of([&] { MappedFile m("/dev/null"); }), ::testing::HasSubstr("regular"));
}

TEST(FileSystem, WritesAppendsRenamesRemoves) {
  TemporaryDirectory dir;
  FileSystem& files = file_system();
  files.make_directories(dir / "a/b");
  files.make_directories(dir / "a/b");
  auto file = files.create(dir / "a/b/x");
  file->write("one ");
  file->sync();
  file->close();
  EXPECT_THROW(file->write("late"), Error);
  file = files.append(dir / "a/b/x");
  file->write("two");
  file->close();
  files.sync_directory(dir / "a/b");
  files.rename(dir / "a/b/x", dir / "y");
  EXPECT_EQ(read_file(dir / "y"), "one two");
  files.create(dir / "y")->close();
  EXPECT_EQ(read_file(dir / "y"), "");
  files.remove_all(dir / "a");
  files.remove_all(dir / "a");
  EXPECT_FALSE(fs::exists(dir / "a"));
}

TEST(FileSystem, SaysWhatIsWrong) {
  TemporaryDirectory dir;
  FileSystem& files = file_system();
  put(dir / "file", "");
  EXPECT_THAT(message_of([&] { files.create(dir / "no/x"); }),
              ::testing::HasSubstr("No such file"));
  EXPECT_THAT(message_of([&] { files.create(dir.path()); }), ::testing::HasSubstr("directory"));
  EXPECT_THAT(message_of([&] { files.rename(dir / "no", dir / "x"); }),
              ::testing::HasSubstr("No such file"));
  EXPECT_THAT(message_of([&] { files.make_directories(dir / "file"); }),
              ::testing::HasSubstr("file"));
  EXPECT_NE(message_of([&] { files.make_directories(dir / "file/below"); }), "no error");
  EXPECT_THAT(message_of([&] { files.sync_directory(dir / "no"); }),
              ::testing::HasSubstr("No such file"));
}

TEST(FileSystem, FullDiskIsAnError) {
  const std::string error = message_of([] { file_system().create("/dev/full")->write("x"); });
  EXPECT_THAT(error, ::testing::HasSubstr("/dev/full"));
  EXPECT_THAT(error, ::testing::HasSubstr("No space left"));
}

// A pipe takes 64 kB at once, so a large write returns short again and again.
TEST(FileSystem, ShortWritesGoOn) {
  TemporaryDirectory dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  std::string received;
  std::thread reader([&] { received = read_file(dir / "pipe"); });
  std::string sent(3'000'000, 'a');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>('a' + i % 23);
  auto file = file_system().append(dir / "pipe");
  file->write(sent);
  file->sync();  // nothing to sync on a pipe: no error
  file->close();
  reader.join();
  EXPECT_EQ(received, sent);
}

TEST(WriteFileAtomically, ReplacesAndLeavesNothingBehind) {
  TemporaryDirectory dir;
  write_file_atomically(dir / "a", "old");
  write_file_atomically(dir / "a", "new");
  EXPECT_EQ(read_file(dir / "a"), "new");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(WriteFileAtomically, WorksWithoutAFolderInThePath) {
  TemporaryDirectory dir;
  const fs::path before = fs::current_path();
  fs::current_path(dir.path());
  write_file_atomically("plain", "x");
  fs::current_path(before);
  EXPECT_EQ(read_file(dir / "plain"), "x");
}

TEST(WriteFileAtomically, FollowsLinksAndRefusesDevicesAndFolders) {
  TemporaryDirectory dir;
  put(dir / "real", "old");
  fs::create_symlink("real", dir / "link");
  write_file_atomically(dir / "link", "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(read_file(dir / "real"), "new");
  EXPECT_THAT(message_of([&] { write_file_atomically("/dev/null", "x"); }),
              ::testing::HasSubstr("regular"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THAT(message_of([&] { write_file_atomically(dir.path(), "x"); }),
              ::testing::HasSubstr("folder"));
}

TEST(WriteFileAtomically, AThrowingWriterKeepsTheOldContent) {
  TemporaryDirectory dir;
  put(dir / "a", "old");
  EXPECT_THROW(write_file_atomically(dir / "a",
                                     [](OutputFile& file) {
                                       file.write("half");
                                       throw std::runtime_error("stop");
                                     }),
               std::runtime_error);
  EXPECT_EQ(read_file(dir / "a"), "old");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

void write_new(const fs::path& path) {
  write_file_atomically(path, [](OutputFile& file) {
    file.write("new ");
    file.write("content");
  });
}

size_t calls_of_a_good_run() {
  TemporaryDirectory dir;
  FailingFileSystem files;
  const auto guard = replace_file_system(files);
  write_new(dir / "a");
  return files.calls();
}

TEST(WriteFileAtomically, AnyFailingCallLeavesOldOrNew) {
  const size_t calls = calls_of_a_good_run();
  ASSERT_EQ(calls, 7u);  // create, 2 writes, sync, close, rename, sync_directory
  for (const Fault fault : {Fault::fail, Fault::shorten, Fault::stay_full}) {
    for (size_t n = 0; n < calls; ++n) {
      TemporaryDirectory dir;
      put(dir / "a", "old");
      FailingFileSystem files(fault, n);
      const auto guard = replace_file_system(files);
      EXPECT_THAT(message_of([&] { write_new(dir / "a"); }), ::testing::HasSubstr("made up"));
      EXPECT_EQ(read_file(dir / "a"), n < 6 ? "old" : "new content") << n;
      EXPECT_EQ(files_in(dir.path()), 1u) << n;
    }
  }
}

TEST(WriteFileAtomically, AnyPowerCutLeavesOldOrNew) {
  for (const Lost lost : {Lost::nothing, Lost::data, Lost::data_and_names}) {
    for (size_t n = 0; n <= calls_of_a_good_run(); ++n) {
      TemporaryDirectory dir;
      put(dir / "a", "old");
      FailingFileSystem files(Fault::power_cut, n);
      const auto guard = replace_file_system(files);
      const bool failed = message_of([&] { write_new(dir / "a"); }) != "no error";
      files.settle(lost);
      const std::string content = read_file(dir / "a");
      EXPECT_TRUE(content == "old" || content == "new content") << n << ": " << content;
      if (!failed) {
        EXPECT_EQ(content, "new content") << "said to be durable";
      }
    }
  }
}

// The double itself must notice code that forgets to sync, or the test above proves nothing.
TEST(FailingFileSystem, LosesWhatWasNotSynced) {
  TemporaryDirectory dir;
  put(dir / "target", "old");
  FailingFileSystem files(Fault::power_cut, 7);
  auto file = files.create(dir / "synced");     // 0
  file->write("kept");                          // 1
  file->sync();                                 // 2
  file->write(" lost");                         // 3
  auto other = files.create(dir / "other");     // 4
  other->write("lost");                         // 5
  files.rename(dir / "other", dir / "target");  // 6
  EXPECT_THROW(files.sync_directory(dir.path()), Error);
  EXPECT_THROW(file->write("after"), Error);
  EXPECT_EQ(read_file(dir / "synced"), "kept lost");
  files.settle(Lost::data);
  EXPECT_EQ(read_file(dir / "synced"), "kept");
  EXPECT_EQ(read_file(dir / "target"), "");  // renamed before its data were on the disk
  files.settle(Lost::data_and_names);
  EXPECT_EQ(read_file(dir / "target"), "old");
  EXPECT_FALSE(fs::exists(dir / "synced"));
}

TEST(FailingFileSystem, ShortensOneWriteOrStaysFull) {
  TemporaryDirectory dir;
  FailingFileSystem once(Fault::shorten, 1), full(Fault::stay_full, 1);
  auto a = once.create(dir / "a"), b = full.create(dir / "b");
  EXPECT_THROW(a->write("12345678"), Error);
  a->write("x");
  EXPECT_EQ(read_file(dir / "a"), "1234x");
  EXPECT_THROW(b->write("12345678"), Error);
  EXPECT_THROW(b->write("x"), Error);
  EXPECT_EQ(read_file(dir / "b"), "1234");
  full.remove_all(dir / "b");  // freeing works
  EXPECT_FALSE(fs::exists(dir / "b"));
}

TEST(FailingFileSystem, GuardPutsTheRealOneBack) {
  FileSystem* const real = &file_system();
  FailingFileSystem files;
  {
    const auto guard = replace_file_system(files);
    EXPECT_EQ(&file_system(), &files);
  }
  EXPECT_EQ(&file_system(), real);
}

}  // namespace
}  // namespace gallop
