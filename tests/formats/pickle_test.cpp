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
                                    {"collections.Counter", Use::dict},
                                    {"collections.defaultdict", Use::dict},
                                    {"collections.deque", Use::list},
                                    {"builtins.set", Use::set},
                                    {"argparse.Namespace", Use::data},
                                    {"torch.make", Use::data},
                                    {"torch.FloatStorage", Use::data}};

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
  EXPECT_TRUE(made.root().items[0]->is_global("torch.make"));
  EXPECT_EQ(made.root().items[1]->items[1]->integer, 2);
  const Pickle object = read("cargparse\nNamespace\n)\x81}" + text("lr") + "K\1sb.");
  EXPECT_EQ(object.root().kind, Kind::object);
  EXPECT_EQ(describe(object.root()), "an object of argparse.Namespace");
  ASSERT_EQ(object.root().items.size(), 3u);  // class, arguments, members
  EXPECT_EQ(object.root().items[2]->items[0]->text, "lr");
  const Pickle outside = read(text("key") + "Q.");
  EXPECT_EQ(outside.root().items[0]->text, "key");
  EXPECT_TRUE(
      read(text("torch") + text("FloatStorage") + "\x93.").root().is_global("torch.FloatStorage"));
  EXPECT_FALSE(read("ctorch\nmak\n.").root().is_global("torch.make"));
  EXPECT_FALSE(read("ctorc\nmake\n.").root().is_global("torch.make"));
}

// What would run is a note of what would be called, and a value like others.
TEST(Pickle, KeepsUnknownGlobalsAsValues) {
  const auto known = [](const std::string& bytes) { return read(bytes).root().items[0]->known; };
  const std::string runs = "cos\nsystem\n" + text("echo") + "\x85R";
  EXPECT_EQ(describe(read(runs + ".").root()), "what os.system makes");
  EXPECT_FALSE(known(runs + "."));
  EXPECT_TRUE(known("ctorch\nmake\n)R."));
  EXPECT_EQ(describe(read("cbuiltins\neval\n.").root()), "builtins.eval");
  EXPECT_EQ(describe(read(text("a\nb") + text("system") + "\x93.").root()), "\"a\\nb\".system");
  // Python 2 had other names for the modules, which protocol 2 writes.
  EXPECT_TRUE(read("c__builtin__\nset\n.").root().is_global("builtins.set"));
  // A class of its own with members, contents and arguments; one made by keywords.
  const Pickle object = read("cmy\nDict\nK\1\x85\x81}b" + text("k") + "Ns(" + text("l") + "Nu.");
  EXPECT_EQ(describe(object.root()), "an object of my.Dict");
  EXPECT_EQ(object.root().items.size(), 5u);
  EXPECT_EQ(describe(read("cmy\nDict\n)}\x92.").root()), "an object of my.Dict");
  EXPECT_EQ(describe(read("cmy\nList\n)\x81Na(Ne.").root()), "an object of my.List");
  EXPECT_EQ(describe(read("(cmy\nOld\nK\1o}b.").root()), "an object of my.Old");
  EXPECT_EQ(describe(read("(K\1imy\nOld\n.").root()), "an object of my.Old");
  // Whatever stands for the function or the arguments.
  EXPECT_EQ(describe(read("K\1)R.").root()), "what a value that is no function by name makes");
  EXPECT_EQ(describe(read("ctorch\nmake\nK\1R.").root()), "what torch.make makes");
  EXPECT_EQ(describe(read("ctorch\nmake\n)R}b.").root()), "what torch.make makes");
  EXPECT_THAT(error_of("K\1K\1\x93."), HasSubstr("no text"));
  EXPECT_THAT(error_of("cos\nsystem"), HasSubstr("cut short in a line"));
  EXPECT_THAT(error_of("K\1}b."), HasSubstr("sets members of the integer 1"));
}

TEST(Pickle, MakesTheContainersThatItKnows) {
  const auto what = [](const std::string& bytes) { return describe(read(bytes + ".").root()); };
  const std::string pair = "K\1K\2\x86";
  EXPECT_EQ(what("ccollections\nCounter\n}" + text("a") + "K\2s\x85R"), "a dict of 1");
  EXPECT_EQ(what("ccollections\nOrderedDict\n](" + pair + pair + "e\x85R"), "a dict of 2");
  EXPECT_EQ(what("ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + text("a") + "]s"),
            "a dict of 1");
  EXPECT_EQ(what("ccollections\ndeque\n)K\5\x86RK\1a"), "a list of 1");
  EXPECT_EQ(what("c__builtin__\nset\n](K\1K\2e\x85R"), "a set of 2");
  // Of something else, which only Python could go through.
  EXPECT_EQ(what("ccollections\nOrderedDict\nK\1\x85R"), "what collections.OrderedDict makes");
  EXPECT_EQ(what("ccollections\nOrderedDict\n]K\1a\x85R"), "what collections.OrderedDict makes");
  // A list of 100 handed on 100 times asks for more than the file has, and is then not followed.
  std::string many = "ccollections\ndeque\nq\1](" + std::string(100, 'N') + "e\x85q\2](";
  for (int i = 0; i < 100; ++i) many += "h\1h\2R";
  const Pickle pickle = read(many + "e\x87.");
  size_t items = 0;
  for (const PickleValue* list : pickle.root().items[2]->items)
    if (list->kind == Kind::list) items += list->items.size();
  EXPECT_LE(items, many.size());
}

TEST(Pickle, ReadsEveryOtherOpcode) {
  const auto what = [](const std::string& bytes) { return describe(read(bytes + ".").root()); };
  using namespace std::string_literals;
  EXPECT_EQ(what("NN0"), "None");
  EXPECT_EQ(what("N(0"), "None");
  EXPECT_EQ(what("N(NN1"), "None");
  EXPECT_EQ(what("N2\x86"), "a tuple of 2");
  EXPECT_EQ(what("I7\n"), "the integer 7");
  EXPECT_EQ(what("I01\n"), "True");
  EXPECT_EQ(what("I00\n"), "False");
  EXPECT_EQ(what("L-7L\n"), "the integer -7");
  EXPECT_EQ(what("L99999999999999999999L\n"), "an integer of more than 64 bits");
  EXPECT_EQ(what("F-1.5\n"), "the number -1.500000");
  EXPECT_EQ(what("S'a b'\n"), "the text \"a b\"");
  EXPECT_EQ(what("S'a\\n'\n"), "3 bytes");  // escapes are not undone
  EXPECT_EQ(what("Vabc\n"), "the text \"abc\"");
  EXPECT_EQ(what("U\3abc"), "the text \"abc\"");
  EXPECT_EQ(what("T\3\0\0\0abc"s), "the text \"abc\"");
  EXPECT_EQ(what("\x8d\3\0\0\0\0\0\0\0abc"s), "the text \"abc\"");
  EXPECT_EQ(what("B\2\0\0\0ab"s), "2 bytes");
  EXPECT_EQ(what("C\2ab"), "2 bytes");
  EXPECT_EQ(what("\x8e\2\0\0\0\0\0\0\0ab"s), "2 bytes");
  EXPECT_EQ(what("\x96\2\0\0\0\0\0\0\0ab"s), "2 bytes");
  EXPECT_EQ(what("(K\1K\2l"), "a list of 2");
  EXPECT_EQ(what("(K\1K\2d"), "a dict of 1");
  EXPECT_EQ(what("\x8f(K\1K\2\x90"), "a set of 2");
  EXPECT_EQ(what("(K\1\x91"), "a set of 1");
  EXPECT_EQ(what("Np7\n0g7\n"), "None");
  EXPECT_EQ(what("Pname\n"), "an object outside the pickle");
  EXPECT_EQ(what("\x82\1"), "a value that is not in the file");
  EXPECT_EQ(what("\x83\1\0"s), "a value that is not in the file");
  EXPECT_EQ(what("\x84\1\0\0\0"s), "a value that is not in the file");
  EXPECT_EQ(what("\x97\x98"), "a value that is not in the file");
  // 2^70, 2^63, and -2^63 in nine bytes, of which the last repeats the sign.
  EXPECT_EQ(what("\x8a\x09\0\0\0\0\0\0\0\0\x40"s), "an integer of more than 64 bits");
  EXPECT_EQ(what("\x8a\x09\0\0\0\0\0\0\0\x80\0"s), "an integer of more than 64 bits");
  EXPECT_EQ(what("\x8a\x09\0\0\0\0\0\0\0\x80\xff"s), "the integer -9223372036854775808");
  EXPECT_EQ(what("\x8b\2\0\0\0\x34\x12"s), "the integer 4660");
  EXPECT_THAT(error_of("N\xfe"), HasSubstr("opcode number 254"));
}

TEST(Pickle, RefusesDamage) {
  for (const auto& [bytes, reason] : std::initializer_list<std::pair<std::string, const char*>>{
           {"", "cut short"},
           {"N", "cut short"},
           {"K", "cut short"},
           {"X\xff\xff\xff\xff.", "cut short"},
           {"I1x\n.", "the integer \"1x\" is none"},
           {"F\n.", "the number \"\" is none"},
           {"gx\n.", "its memo"},
           {"(o.", "no class"},
           {"(K\1d.", "without a value"},
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
  EXPECT_THAT(error_of(std::string((16 << 20) + 1, '(')), HasSubstr("more than the 16777216"));
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
