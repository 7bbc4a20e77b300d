// One function compiled for several instruction sets, of which the one that the machine has is chosen when the program
// starts. Included where such functions are defined only.
#pragma once

// Sanitizers cannot follow the choice, and processors that are no x86 have one set.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CRESCENDO_X86_SETS
#define CRESCENDO_VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
// For what is written for registers of sixteen numbers.
#define CRESCENDO_VECTORIZED_512 __attribute__((target_clones("arch=x86-64-v4", "default")))
#define CRESCENDO_HAS_512 (__builtin_cpu_supports("x86-64-v4") != 0)
// For what is written for one set alone, which whoever calls it must ask for: cpu_has_bf16() and cpu_has_int8()
// (core/device.h).
#define CRESCENDO_FOR_BF16 __attribute__((target("arch=x86-64-v4,avx512bf16")))
#define CRESCENDO_FOR_INT8 __attribute__((target("arch=x86-64-v4,avx512vnni")))
#define CRESCENDO_FOR_AVX2 __attribute__((target("arch=x86-64-v3")))
#define CRESCENDO_HAS_AVX2 (__builtin_cpu_supports("x86-64-v3") != 0)
#else
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__clang__)
#define CRESCENDO_ARM_SETS
#define CRESCENDO_FOR_BF16 __attribute__((target("arch=armv8.2-a+bf16")))
#define CRESCENDO_FOR_INT8 __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define CRESCENDO_VECTORIZED
#define CRESCENDO_VECTORIZED_512
#define CRESCENDO_HAS_512 false
#endif
