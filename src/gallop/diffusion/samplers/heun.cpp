#include "gallop/diffusion/samplers/runge_kutta.h"

namespace gallop::diffusion {
namespace {

const RegisterRungeKutta registered{
    "heun",
    "ODE of a flow, second order (trapezoid), two network calls a step",
    "SiT, arXiv 2401.08740; Karras et al., arXiv 2206.00364",
    {.nodes = {0, 1}, .stages = {{}, {1}}, .weights = {0.5, 0.5}}};

}  // namespace
}  // namespace gallop::diffusion
