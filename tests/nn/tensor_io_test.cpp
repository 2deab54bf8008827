#include "gallop/nn/tensor_io.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "gallop/base/error.h"

namespace gallop::nn {
namespace {

class TensorIo : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path file() const { return folder_ / "t.safetensors"; }

 private:
  fs::path folder_;
};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST_F(TensorIo, EveryTypeComesBackBitForBit) {
  const at::Tensor base = at::arange(0, 24).reshape({2, 3, 4});
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (auto type : {c10::kBool, c10::kByte, c10::kChar, c10::kShort, c10::kHalf, c10::kBFloat16,
                    c10::kInt, c10::kFloat, c10::kDouble, c10::kLong})
    tensors.emplace_back(c10::toString(type), base.to(type));
  tensors.emplace_back("scalar", base.sum());
  tensors.emplace_back("empty", at::empty({0, 5}));
  save_tensors(file(), tensors, {{"note", "all types"}});

  EXPECT_EQ(formats::SafetensorsReader(file()).metadata().at("note"), "all types");
  const auto loaded = load_tensors(file());
  ASSERT_EQ(loaded.size(), tensors.size());
  for (const auto& [name, want] : tensors) {
    const at::Tensor& got = loaded.at(name);
    EXPECT_EQ(got.scalar_type(), want.scalar_type()) << name;
    EXPECT_TRUE(got.equal(want)) << name;
  }
}

TEST_F(TensorIo, StridedTensorsAreSavedInLogicalOrder) {
  const at::Tensor transposed = at::arange(0, 6).reshape({2, 3}).t();
  save_tensors(file(), {{"x", transposed}});
  EXPECT_TRUE(load_tensors(file()).at("x").equal(transposed));
}

TEST_F(TensorIo, TheCopyOutlivesTheFile) {
  save_tensors(file(), {{"x", at::arange(0, 3)}});
  at::Tensor x;
  {
    const formats::SafetensorsReader reader(file());
    x = to_tensor(*reader.find("x"));
  }
  fs::remove(file());
  EXPECT_EQ(x.sum().item<int64_t>(), 3);
}

TEST_F(TensorIo, WhatCannotBeWrittenIsRefusedByName) {
  EXPECT_THAT(message_of([] { view_of("w", at::zeros({2, 3}).t()); }),
              ::testing::HasSubstr("'w' must be contiguous"));
  EXPECT_THAT(message_of([] { view_of("z", at::zeros({2}, c10::kComplexFloat)); }),
              ::testing::HasSubstr("'z' is of type ComplexFloat"));
  EXPECT_THAT(message_of([] { view_of("u", at::Tensor()); }), ::testing::HasSubstr("undefined"));
  EXPECT_THAT(message_of([&] { save_tensors(file(), {{"u", at::Tensor()}}); }),
              ::testing::HasSubstr("'u' is undefined"));
}

TEST_F(TensorIo, AViewWhoseBytesDoNotFitItsShapeIsRefused) {
  const std::byte bytes[8] = {};
  EXPECT_THAT(message_of([&] { to_tensor({"x", formats::DType::F32, {3}, bytes}); }),
              ::testing::HasSubstr("has 8 bytes where its shape and type need 12"));
}

}  // namespace
}  // namespace gallop::nn
