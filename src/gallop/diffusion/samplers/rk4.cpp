#include "gallop/diffusion/samplers/runge_kutta.h"

namespace gallop::diffusion {
namespace {

const RegisterRungeKutta registered{
    "rk4",
    "ODE of a flow, fourth order (3/8 rule, as torchdiffeq's rk4), four network calls a step",
    "Kutta 1901; Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I",
    {.nodes = {0, 1.0 / 3, 2.0 / 3, 1},
     .stages = {{}, {1.0 / 3}, {-1.0 / 3, 1}, {1, -1, 1}},
     .weights = {0.125, 0.375, 0.375, 0.125}}};

}  // namespace
}  // namespace gallop::diffusion
