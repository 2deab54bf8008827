#pragma once

#include <gtest/gtest.h>

#include "tests/ops/operator_case.h"

namespace gallop::testing {

/// Output and gradients for the cotangent that random("cotangent") gives.
Tensors forward_backward(const std::function<at::Tensor(const Tensors&)>& op,
                         const Tensors& inputs);

/// The kernel in float32 against the reference in float64: output and all gradients.
void expect_kernel_is_right(const OperatorCase& c);
/// The operator in float64 (its reference) against central differences.
void expect_gradients_are_right(const OperatorCase& c);
/// The same bits with 1, 2 and 3 threads.
void expect_same_bits_for_all_threads(const OperatorCase& c);
/// A gradient with a graph of its own: its derivative in float32 against float64.
void expect_second_derivative_is_right(const OperatorCase& c);

class OperatorTest : public ::testing::TestWithParam<OperatorCase> {};

/// "linear 5x8->16" as a test's name.
std::string test_name(const ::testing::TestParamInfo<OperatorCase>& info);

/// All of the above for each case.
#define GALLOP_TEST_OPERATOR(name, cases)                                                    \
  class name : public ::gallop::testing::OperatorTest {};                                    \
  TEST_P(name, Kernel) { ::gallop::testing::expect_kernel_is_right(GetParam()); }            \
  TEST_P(name, Gradients) { ::gallop::testing::expect_gradients_are_right(GetParam()); }     \
  TEST_P(name, Threads) { ::gallop::testing::expect_same_bits_for_all_threads(GetParam()); } \
  TEST_P(name, SecondDerivative) {                                                           \
    ::gallop::testing::expect_second_derivative_is_right(GetParam());                        \
  }                                                                                          \
  INSTANTIATE_TEST_SUITE_P(All, name, ::testing::ValuesIn(cases), ::gallop::testing::test_name)

}  // namespace gallop::testing
