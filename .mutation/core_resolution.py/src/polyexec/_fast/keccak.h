/* Keccak-f[1600] for one state and for four side by side, with the best instructions there are. */
#ifndef POLYEXEC_KECCAK_H
#define POLYEXEC_KECCAK_H

#include <stddef.h>
#include <stdint.h>

static const uint64_t keccak_round_constants[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

#define KECCAK_ROTL(x, n) ((x) << (n) | (x) >> (64 - (n)))

#define LANE uint64_t
#define KECCAK_F keccak_f_portable
#define TARGET
#include "keccak_f.h"

typedef void (*keccak_f)(uint64_t *state);

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#define KECCAK_F keccak_f_bmi
#define TARGET __attribute__((target("bmi,bmi2")))
#include "keccak_f.h"
#undef LANE

/* The compiler turns the same source into instructions on four lanes at once. may_alias and
   aligned(8): the states are plain arrays of uint64_t. */
typedef uint64_t keccak_four __attribute__((vector_size(32), aligned(8), may_alias));
#define LANE keccak_four
#define KECCAK_F keccak_vector_avx2
#define TARGET __attribute__((target("avx2")))
#include "keccak_f.h"
#define KECCAK_F keccak_vector_avx512
#define TARGET __attribute__((target("avx512f,avx512vl")))
#include "keccak_f.h"

static void keccak_f4_avx2(uint64_t *s) { keccak_vector_avx2((keccak_four *)s); }
static void keccak_f4_avx512(uint64_t *s) { keccak_vector_avx512((keccak_four *)s); }

static inline keccak_f keccak_best(void) {
    return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") ? keccak_f_bmi
                                                                           : keccak_f_portable;
}

/* Lane i of state j is s[4 i + j]. NULL: this processor gains nothing by four at a time. */
static inline keccak_f keccak_best4(void) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        return keccak_f4_avx512;
    return __builtin_cpu_supports("avx2") ? keccak_f4_avx2 : NULL;
}

#else

static inline keccak_f keccak_best(void) { return keccak_f_portable; }
static inline keccak_f keccak_best4(void) { return NULL; }

#endif
#undef LANE
#endif
