#pragma once

namespace gallop {

/// Tells glibc to keep what is freed, for the whole process. Activations of many megabytes come and
/// go in every step; by default each is mapped and unmapped, and a tenth of a training step goes
/// into page faults. Programs call it once, before anything large is allocated.
void keep_freed_memory();

}  // namespace gallop
