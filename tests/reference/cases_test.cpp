// What the tests of reference cases promise: each file has its test, and a wrong value fails.
#include "tests/reference/cases.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gallop/formats/safetensors.h"
#include "tests/support/fixture.h"
#include "tests/support/temporary_directory.h"

namespace gallop::testing {
namespace {

using test::ReferenceCase;
using ::testing::HasSubstr;

// Adds what a body reports on a case, exceptions too; false if the body leaves the case out.
bool failures_of(CaseBody body, const Fixture& fixture, std::vector<std::string>& failures) {
  ::testing::TestPartResultArray results;
  bool left_out = false;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
    try {
      body(fixture);
    } catch (const LeftOut&) {
      left_out = true;
    } catch (const std::exception& error) {
      failures.emplace_back(error.what());
    }
  }
  for (int i = 0; i < results.size(); ++i) {
    if (results.GetTestPartResult(i).failed())
      failures.emplace_back(results.GetTestPartResult(i).message());
  }
  return !left_out;
}

// The value with one element moved, past every tolerance.
at::Tensor changed(const at::Tensor& value, int64_t element) {
  at::Tensor copy = value.clone().contiguous();
  const at::Tensor one = copy.view({-1})[element];
  if (!value.is_floating_point()) {
    one.add_(1);
  } else if (one.isfinite().item<bool>()) {
    one.add_(1 + std::abs(one.item<double>()));
  } else {
    one.fill_(0);
  }
  return copy;
}

TEST(ReferenceCases, EveryKindHasATest) {
  std::set<std::string> tested;
  for (const CaseTest& test : case_tests()) tested.insert(test.kind);
  const std::vector<std::string> kinds = test::reference_kinds();
  EXPECT_EQ(tested, std::set<std::string>(kinds.begin(), kinds.end()));
}

// A file that nothing reads is no check of anything.
TEST(ReferenceCases, EveryFileHasATest) {
  std::string without;
  size_t count = 0;
  for (const ReferenceCase& which : test::cases_in(test::case_folder())) {
    if (!which.kind.empty()) continue;
    without += "\n  " + which.name;
    ++count;
  }
  EXPECT_EQ(count, 0u)
      << "no test has the kind of these files of " << test::case_folder()
      << ". A case says its kind in its metadata (kind = \"routing/selection\") or "
         "lies in the folder of its kind under a name that begins with it; the "
         "kinds are listed in tests/reference/cases.cpp:"
      << without;
}

// The cases of a kind, the smallest file first.
std::vector<ReferenceCase> by_size(const std::vector<ReferenceCase>& all, const std::string& kind) {
  std::vector<ReferenceCase> cases;
  for (const ReferenceCase& which : all)
    if (which.kind == kind) cases.push_back(which);
  std::stable_sort(cases.begin(), cases.end(), [](const ReferenceCase& a, const ReferenceCase& b) {
    return fs::file_size(a.file) < fs::file_size(b.file);
  });
  return cases;
}

// Changes every tensor that the test compares, one after the other; false if it leaves the case
// out.
bool every_change_fails(const CaseTest& test, const ReferenceCase& which) {
  SCOPED_TRACE(test.name + " on " + which.name);
  const Fixture fixture(which);
  std::vector<std::string> failures;
  if (!failures_of(test.body, fixture, failures)) return false;
  EXPECT_THAT(failures, ::testing::IsEmpty());
  for (const std::string& name : fixture.checked()) {
    // Some tests can see a part of a tensor only: the weights of tokens that are kept, say.
    const int64_t elements = fixture.tensor(name).numel(), tries = std::min<int64_t>(elements, 8);
    bool seen = elements == 0;
    for (int64_t i = 0; i < tries && !seen; ++i) {
      const int64_t element = (elements / 2 + i * elements / tries) % elements;
      failures.clear();
      failures_of(test.body, fixture.with(name, changed(fixture.tensor(name), element)), failures);
      seen = !failures.empty();
    }
    EXPECT_TRUE(seen) << name << " was changed";
  }
  return true;
}

// For every test, and for every expected tensor of its smallest case: one changed element makes
// the test fail. A test that passes on anything, or compares nothing, shows here.
TEST(ReferenceCases, AChangedValueFails) {
  const std::vector<ReferenceCase> all = test::cases_in(test::case_folder());
  for (const CaseTest& test : case_tests()) {
    for (const ReferenceCase& which : by_size(all, test.kind))
      if (every_change_fails(test, which)) break;
  }
}

// Writes a copy of a case with one element of one tensor changed.
void write_changed(const ReferenceCase& from, const fs::path& to, const std::string& name) {
  const formats::SafetensorsReader reader(from.file);
  std::vector<formats::TensorView> views = reader.tensors();
  std::vector<std::byte> bytes;
  for (formats::TensorView& view : views) {
    if (view.name != name) continue;
    ASSERT_EQ(view.dtype, formats::DType::F32);
    bytes.assign(view.data.begin(), view.data.end());
    float first = 0;
    std::memcpy(&first, bytes.data(), sizeof first);
    first += 0.01F;
    std::memcpy(bytes.data(), &first, sizeof first);
    view.data = bytes;
  }
  ASSERT_FALSE(bytes.empty()) << name;
  fs::create_directories(to.parent_path());
  formats::write_safetensors(to, views, reader.metadata());
}

// What run_cases reports about the files of a folder.
std::string report_of(const std::string& test_name, const fs::path& folder) {
  const auto test = std::find_if(case_tests().begin(), case_tests().end(),
                                 [&](const CaseTest& t) { return t.name == test_name; });
  if (test == case_tests().end()) return "no test " + test_name;
  ::testing::TestPartResultArray results;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
    run_cases(test->kind, test->body, folder);
  }
  std::string report;
  for (int i = 0; i < results.size(); ++i) {
    const auto& result = results.GetTestPartResult(i);
    report += std::string(result.skipped()  ? "skipped: "
                          : result.failed() ? "failed: "
                                            : "") +
              result.message() + "\n";
  }
  return report;
}

class CaseFolder : public ::testing::Test {
 protected:
  CaseFolder() {
    for (const ReferenceCase& which :
         test::cases_in(fs::path(GALLOP_TEST_DATA) / "fixtures", "routing/gates")) {
      gates = which;
    }
  }
  fs::path put(const std::string& name) const {
    const fs::path file = folder / (name + ".safetensors");
    fs::create_directories(file.parent_path());
    fs::copy_file(gates.file, file);
    return file;
  }
  std::string report() const { return report_of("GateCases.MatchTheReference", folder.path()); }
  const test::TemporaryDirectory folder;
  ReferenceCase gates;
};

TEST_F(CaseFolder, AFailingCaseNamesItsFileAndTheOthersStillRun) {
  put("routing/gates_b");
  write_changed(gates, folder / "routing" / "gates_a.safetensors", "out.sigmoid");
  write_changed(gates, folder / "routing" / "gates_c.safetensors", "grad.softmax.logits");
  const std::string text = report();
  EXPECT_THAT(text, HasSubstr("routing/gates_a out.sigmoid"));
  EXPECT_THAT(text, HasSubstr((folder / "routing" / "gates_a.safetensors").string()));
  EXPECT_THAT(text, HasSubstr("routing/gates_c grad.softmax.logits"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("gates_b")));
}

TEST_F(CaseFolder, ADamagedCaseFailsAndNamesItsFile) {
  const fs::path file = put("routing/gates");
  fs::resize_file(file, fs::file_size(file) - 8);
  EXPECT_THAT(report(), ::testing::AllOf(HasSubstr("failed: "), HasSubstr(file.string())));
}

TEST_F(CaseFolder, AKindWithoutAFileIsSkippedAndSaysSo) {
  put("routing/losses");
  EXPECT_THAT(report(), HasSubstr("skipped: no case of the kind routing/gates in "));
}

TEST_F(CaseFolder, AFileIsKnownByWhatItSaysAndByItsName) {
  const auto kind = [&](const std::string& file, const formats::Metadata& metadata) {
    const fs::path path = folder / (file + ".safetensors");
    fs::create_directories(path.parent_path());
    formats::write_safetensors(path, {}, metadata);
    for (const ReferenceCase& which : test::cases_in(folder.path()))
      if (which.name == file) return which.kind;
    return std::string("not found");
  };
  EXPECT_EQ(kind("routing/selection_17", {}), "routing/selection");
  EXPECT_EQ(kind("more/routing/selection2", {}), "routing/selection");
  EXPECT_EQ(kind("selection-of-mine", {}), "routing/selection");
  EXPECT_EQ(kind("moe/dit_moe_model_b", {}), "moe/dit_moe_model");
  EXPECT_EQ(kind("moe/dit_moe_top3", {}), "moe/dit_moe");
  EXPECT_EQ(kind("dit/sit_cfg_9", {{"config", "{\"kind\": \"SiT\"}"}}), "dit/dit_cfg");
  EXPECT_EQ(kind("dit/sit_wide", {{"config", "{\"kind\": \"SiT\"}"}}), "dit/dit");
  EXPECT_EQ(kind("anything", {{"kind", "routing/selection"}}), "routing/selection");
  EXPECT_EQ(kind("routing/gates", {{"kind", "threshold"}}), "routing/threshold");
  EXPECT_EQ(kind("x", {{"config", "{\"kind\": \"moh\"}"}}), "moe/moh");
  // Known by nothing: another folder's, a longer word, a kind that there is not.
  EXPECT_EQ(kind("attention/moh_llama", {}), "");
  EXPECT_EQ(kind("routing/gatesandmore", {}), "");
  EXPECT_EQ(kind("dit/q_sample", {}), "");
  EXPECT_EQ(kind("routing/gates_b", {{"kind", "routing/gate"}}), "");
}

}  // namespace
}  // namespace gallop::testing
