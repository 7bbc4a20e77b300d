// One function compiled for several instruction sets, of which the one that the machine has is chosen when the program
// starts. Included where such functions are defined only.
#pragma once

// Sanitizers cannot follow the choice, and processors that are no x86 have one set.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CRESCENDO_VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CRESCENDO_VECTORIZED
#endif
