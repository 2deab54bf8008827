#include "gallop/diffusion/samplers/runge_kutta.h"

namespace gallop::diffusion {
namespace {

const RegisterRungeKutta registered{"euler",
                                    "ODE of a flow, first order, one network call a step",
                                    "SiT, arXiv 2401.08740",
                                    {.nodes = {0}, .stages = {{}}, .weights = {1}}};

}  // namespace
}  // namespace gallop::diffusion
