#include "gallop/diffusion/samplers/runge_kutta.h"

namespace gallop::diffusion {
namespace {

const RegisterRungeKutta registered{
    "midpoint",
    "ODE of a flow, second order (midpoint), two network calls a step",
    "Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I",
    {.nodes = {0, 0.5}, .stages = {{}, {0.5}}, .weights = {0, 1}}};

}  // namespace
}  // namespace gallop::diffusion
