#include "gallop/diffusion/samplers/runge_kutta.h"

namespace gallop::diffusion {
namespace {

const RegisterRungeKutta registered{
    "heun3",
    "ODE of a flow, third order (Heun), three network calls a step",
    "Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I",
    {.nodes = {0, 1.0 / 3, 2.0 / 3},
     .stages = {{}, {1.0 / 3}, {0, 2.0 / 3}},
     .weights = {0.25, 0, 0.75}}};

}  // namespace
}  // namespace gallop::diffusion
