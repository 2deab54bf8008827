#include "gallop/formats/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "tests/support/errors.h"

// Pickles are written out by hand, opcode after opcode as pickletools names them.

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using Kind = PickleValue::Kind;
using Use = PickleGlobal::Use;
using ::testing::HasSubstr;

constexpr PickleGlobal globals[] = {{"collections.OrderedDict", Use::dict},
                                    {"argparse.Namespace", Use::object},
                                    {"torch.make", Use::function},
                                    {"torch.FloatStorage", Use::constant}};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Texts of the result point into the bytes, which are kept.
Pickle read(std::string bytes) {
  static std::deque<std::string> kept;
  return Pickle(bytes_of(kept.emplace_back(std::move(bytes))), globals, "'p'");
}

std::string error_of(const std::string& bytes) {
  return message_of([&] { read(bytes); });
}

std::string text(const std::string& value) {  // BINUNICODE
  return std::string("X") + static_cast<char>(value.size()) + std::string(3, '\0') + value;
}

TEST(Pickle, ReadsNumbersTextsAndConstants) {
  // A list of: None, True, False, 7, 0x1234, -2, 2^40, -1 as LONG1 of one byte, LONG1 of none, 1.5.
  const std::string bytes = std::string("\x80\x02](N\x88\x89K\x07M\x34\x12J\xfe\xff\xff\xff", 17) +
                            std::string("\x8a\x06\0\0\0\0\0\1\x8a\x01\xff\x8a\0", 13) +
                            std::string("G\x3f\xf8\0\0\0\0\0\0", 9) + text("gr\xc3\xbc") + "e.";
  const Pickle pickle = read(bytes);
  const PickleValue& list = pickle.root();
  ASSERT_EQ(list.kind, Kind::list);
  ASSERT_EQ(list.items.size(), 11u);
  EXPECT_EQ(list.items[0]->kind, Kind::none);
  EXPECT_EQ(list.items[1]->integer, 1);
  EXPECT_EQ(list.items[2]->kind, Kind::boolean);
  EXPECT_EQ(list.items[3]->integer, 7);
  EXPECT_EQ(list.items[4]->integer, 0x1234);
  EXPECT_EQ(list.items[5]->integer, -2);
  EXPECT_EQ(list.items[6]->integer, int64_t{1} << 40);
  EXPECT_EQ(list.items[7]->integer, -1);
  EXPECT_EQ(list.items[8]->integer, 0);
  EXPECT_EQ(list.items[9]->real, 1.5);
  EXPECT_EQ(list.items[10]->text, "gr\xc3\xbc");
}

TEST(Pickle, ReadsContainersAndTheMemo) {
  // {"a": (1, ["b", "a"])}, the second "a" from the memo.
  const Pickle pickle = read("\x80\x02}" + text("a") + "q\5K\1](" + text("b") + "h\5e\x86s.");
  const PickleValue& dict = pickle.root();
  ASSERT_EQ(dict.kind, Kind::dict);
  ASSERT_EQ(dict.items.size(), 2u);
  EXPECT_EQ(describe(*dict.items[1]), "a tuple of 2");
  const PickleValue& list = *dict.items[1]->items[1];
  ASSERT_EQ(list.items.size(), 2u);
  EXPECT_EQ(list.items[0]->text, "b");
  EXPECT_EQ(list.items[1]->text, "a");
}

TEST(Pickle, NotesGlobalsWithoutUsingThem) {
  const std::string dict = "ccollections\nOrderedDict\n)R";
  EXPECT_EQ(describe(read(dict + ".").root()), "a dict of 0");
  // torch sets the version of a state_dict as a member.
  EXPECT_EQ(describe(read(dict + "}b.").root()), "a dict of 0");
  const Pickle made = read("ctorch\nmake\nK\1K\2\x86R.");
  EXPECT_EQ(made.root().kind, Kind::call);
  EXPECT_EQ(made.root().items[0]->text, "torch.make");
  EXPECT_EQ(made.root().items[1]->items[1]->integer, 2);
  const Pickle object = read("cargparse\nNamespace\n)\x81}" + text("lr") + "K\1sb.");
  EXPECT_EQ(object.root().kind, Kind::object);
  EXPECT_EQ(describe(object.root()), "an object of argparse.Namespace");
  EXPECT_EQ(object.root().items[1]->items[0]->text, "lr");
  const Pickle outside = read(text("key") + "Q.");
  EXPECT_EQ(outside.root().items[0]->text, "key");
  EXPECT_EQ(read(text("torch") + text("FloatStorage") + "\x93.").root().text, "torch.FloatStorage");
}

TEST(Pickle, RefusesGlobalsByName) {
  EXPECT_THAT(error_of("cos\nsystem\n" + text("echo") + "\x85R."),
              HasSubstr("the global \"os.system\" is refused"));
  EXPECT_THAT(error_of("cbuiltins\neval\n."), HasSubstr("\"builtins.eval\""));
  EXPECT_THAT(error_of(text("os") + text("system") + "\x93."), HasSubstr("\"os.system\""));
  EXPECT_THAT(error_of("ccollections\nOrderedDict.x\n."), HasSubstr("refused"));
  EXPECT_THAT(error_of("K\1K\1\x93."), HasSubstr("no text"));
  EXPECT_THAT(error_of("cos\nsystem"), HasSubstr("cut short in the name"));
  // What is known, but in a way that builds no data.
  EXPECT_THAT(error_of("ctorch\nFloatStorage\n)R."), HasSubstr("torch.FloatStorage"));
  EXPECT_THAT(error_of("ccollections\nOrderedDict\nK\1\x85R."), HasSubstr("a tuple of 1"));
  EXPECT_THAT(error_of("cargparse\nNamespace\n)R."), HasSubstr("refused"));
  EXPECT_THAT(error_of("ctorch\nmake\n)\x81."), HasSubstr("refused"));
  EXPECT_THAT(error_of("ctorch\nmake\nK\1R."), HasSubstr("the integer 1"));
  EXPECT_THAT(error_of("K\1)R."), HasSubstr("no function"));
  EXPECT_THAT(error_of("ctorch\nmake\n)R}b."), HasSubstr("sets members of what torch.make makes"));
  EXPECT_THAT(error_of("cargparse\nNamespace\n)\x81K\1b."), HasSubstr("by the integer 1"));
}

TEST(Pickle, RefusesOtherOpcodesByName) {
  const std::pair<char, const char*> refused[] = {
      {'i', "INST"},          {'o', "OBJ"},    {'\x82', "EXT1"},
      {'\x92', "NEWOBJ_EX"},  {'P', "PERSID"}, {'B', "BINBYTES"},
      {'\x96', "BYTEARRAY8"}, {'0', "POP"},    {'\xfe', "number 254"}};
  for (const auto& [code, name] : refused)
    EXPECT_THAT(error_of(std::string("N") + code),
                HasSubstr("opcode " + std::string(name) + " is"));
}

TEST(Pickle, RefusesDamage) {
  for (const auto& [bytes, reason] : std::initializer_list<std::pair<std::string, const char*>>{
           {"", "cut short"},
           {"N", "cut short"},
           {"K", "cut short"},
           {"X\xff\xff\xff\xff.", "cut short"},
           {"\x8a\x09"
            "123456789.",
            "9 bytes"},
           {".", "leaves 0 values"},
           {"NN.", "leaves 2 values"},
           {"N(.", "leaves 1 values and 1 marks"},
           {"N.N", "goes on"},
           {"\x85.", "takes 1 values"},
           {"N(\x85.", "takes 1 values where there are 0"},
           {"t.", "mark"},
           {"Ns.", "takes 2"},
           {"NNNs.", "fills a dict and finds None"},
           {"}N(Nu.", "finds None"},
           {"}(Nu.", "key without a value"},
           {"}Na.", "fills a list and finds a dict"},
           {"h\1.", "value 1, which it never kept"},
           {"q\1.", "not there"},
           {"(q\1.", "not there"}})
    EXPECT_THAT(error_of(bytes), HasSubstr(reason)) << ::testing::PrintToString(bytes);
  EXPECT_THAT(error_of("N\xfe"), HasSubstr("'p' at byte 2"));
  EXPECT_THAT(error_of(std::string((16 << 20) + 1, 'N')), HasSubstr("16777217 bytes"));
}

// A list that holds itself, and one that is nested as deep as there are bytes: both are kept and
// freed without following them.
TEST(Pickle, KeepsCyclesAndDepth) {
  const Pickle cycle = read("]q\1h\1a.");
  EXPECT_EQ(cycle.root().items[0], &cycle.root());
  const std::string deep = std::string(500'000, ']') + std::string(499'999, 'a') + ".";
  EXPECT_EQ(describe(read(deep).root()), "a list of 1");
}

}  // namespace
}  // namespace gallop::formats
