#include "gallop/diffusion/samplers/runge_kutta.h"

namespace gallop::diffusion {
namespace {

const RegisterRungeKutta registered{
    "rk4-classic",
    "ODE of a flow, fourth order (the classical tableau), four network calls a step",
    "Kutta 1901; Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I",
    {.nodes = {0, 0.5, 0.5, 1},
     .stages = {{}, {0.5}, {0, 0.5}, {0, 0, 1}},
     .weights = {1.0 / 6, 1.0 / 3, 1.0 / 3, 1.0 / 6}}};

}  // namespace
}  // namespace gallop::diffusion
