/* The compression function of SHA-256 (FIPS 180-4), portable and with the SHA instructions of x86. */
#ifndef POLYEXEC_SHA256_H
#define POLYEXEC_SHA256_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Feed `count` blocks of 64 bytes, of any alignment, to the eight words of `state`. */
typedef void (*sha256_compress)(uint32_t *state, const uint8_t *blocks, size_t count);

static const uint32_t sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* Zero memory that held a secret; unlike memset alone, this is not optimised away. */
static inline void sha256_wipe(void *start, size_t length) {
#if defined(__GNUC__) || defined(__clang__)
    memset(start, 0, length);
    __asm__ __volatile__("" : : "r"(start) : "memory");
#else
    volatile uint8_t *byte = (volatile uint8_t *)start;
    while (length--)
        *byte++ = 0;
#endif
}

static inline uint32_t sha256_rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* One round. The caller renames the variables instead of moving them: d and h are the outputs. */
#define SHA256_ROUND(a, b, c, d, e, f, g, h, word, k)                                             \
    do {                                                                                          \
        h += (sha256_rotr(e, 6) ^ sha256_rotr(e, 11) ^ sha256_rotr(e, 25)) + (g ^ (e & (f ^ g)))  \
             + (k) + (word);                                                                      \
        d += h;                                                                                   \
        h += (sha256_rotr(a, 2) ^ sha256_rotr(a, 13) ^ sha256_rotr(a, 22))                        \
             + ((a & b) | (c & (a | b)));                                                         \
    } while (0)

/* The next word of the schedule, in the place of the one 16 before it. */
static inline uint32_t sha256_word(uint32_t *w, int i) {
    uint32_t before15 = w[(i + 1) & 15], before2 = w[(i + 14) & 15];
    return w[i] += (sha256_rotr(before15, 7) ^ sha256_rotr(before15, 18) ^ before15 >> 3)
                   + w[(i + 9) & 15]
                   + (sha256_rotr(before2, 17) ^ sha256_rotr(before2, 19) ^ before2 >> 10);
}

#define SHA256_EIGHT_ROUNDS(WORD, i, k)                          \
    do {                                                         \
        SHA256_ROUND(a, b, c, d, e, f, g, h, WORD(i), k[i]);     \
        SHA256_ROUND(h, a, b, c, d, e, f, g, WORD(i + 1), k[i + 1]); \
        SHA256_ROUND(g, h, a, b, c, d, e, f, WORD(i + 2), k[i + 2]); \
        SHA256_ROUND(f, g, h, a, b, c, d, e, WORD(i + 3), k[i + 3]); \
        SHA256_ROUND(e, f, g, h, a, b, c, d, WORD(i + 4), k[i + 4]); \
        SHA256_ROUND(d, e, f, g, h, a, b, c, WORD(i + 5), k[i + 5]); \
        SHA256_ROUND(c, d, e, f, g, h, a, b, WORD(i + 6), k[i + 6]); \
        SHA256_ROUND(b, c, d, e, f, g, h, a, WORD(i + 7), k[i + 7]); \
    } while (0)
#define SHA256_FIRST(i) w[i]
#define SHA256_NEXT(i) sha256_word(w, i)

static void sha256_compress_portable(uint32_t *state, const uint8_t *blocks, size_t count) {
    uint32_t w[16];
    for (; count; count--, blocks += 64) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        const uint32_t *k = sha256_k;
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)blocks[4 * i] << 24 | (uint32_t)blocks[4 * i + 1] << 16
                   | (uint32_t)blocks[4 * i + 2] << 8 | blocks[4 * i + 3];
        SHA256_EIGHT_ROUNDS(SHA256_FIRST, 0, k);
        SHA256_EIGHT_ROUNDS(SHA256_FIRST, 8, k);
        for (k += 16; k < sha256_k + 64; k += 16) {
            SHA256_EIGHT_ROUNDS(SHA256_NEXT, 0, k);
            SHA256_EIGHT_ROUNDS(SHA256_NEXT, 8, k);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
    sha256_wipe(w, sizeof w);
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <cpuid.h>
#include <immintrin.h>

#define SHA256_NI __attribute__((target("sha,sse4.1,ssse3")))

/* Four words of the schedule from the sixteen before them, oldest first. */
SHA256_NI static inline __m128i sha256_four_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    return _mm_sha256msg2_epu32(sum, w3);
}

/* Four rounds; the instruction keeps the state as the words abef and cdgh. */
#define SHA256_FOUR_ROUNDS(words, i)                                                   \
    do {                                                                               \
        __m128i sum = _mm_add_epi32(words, _mm_loadu_si128((const __m128i *)(sha256_k + 4 * (i)))); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);                                 \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));        \
    } while (0)

SHA256_NI static void sha256_compress_ni(uint32_t *state, const uint8_t *blocks, size_t count) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
    __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
    for (; count; count--, blocks += 64) {
        const __m128i *in = (const __m128i *)blocks;
        __m128i w0 = _mm_shuffle_epi8(_mm_loadu_si128(in), big_endian);
        __m128i w1 = _mm_shuffle_epi8(_mm_loadu_si128(in + 1), big_endian);
        __m128i w2 = _mm_shuffle_epi8(_mm_loadu_si128(in + 2), big_endian);
        __m128i w3 = _mm_shuffle_epi8(_mm_loadu_si128(in + 3), big_endian);
        __m128i abef_before = abef, cdgh_before = cdgh;
        for (int i = 0; i < 12; i += 4) {
            SHA256_FOUR_ROUNDS(w0, i);
            w0 = sha256_four_words(w0, w1, w2, w3);
            SHA256_FOUR_ROUNDS(w1, i + 1);
            w1 = sha256_four_words(w1, w2, w3, w0);
            SHA256_FOUR_ROUNDS(w2, i + 2);
            w2 = sha256_four_words(w2, w3, w0, w1);
            SHA256_FOUR_ROUNDS(w3, i + 3);
            w3 = sha256_four_words(w3, w0, w1, w2);
        }
        SHA256_FOUR_ROUNDS(w0, 12);
        SHA256_FOUR_ROUNDS(w1, 13);
        SHA256_FOUR_ROUNDS(w2, 14);
        SHA256_FOUR_ROUNDS(w3, 15);
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static inline sha256_compress sha256_best(void) {
    unsigned a, b, c, d;
    /* Leaf 1: SSSE3, SSE4.1. Leaf 7: SHA. Compilers' own feature tests do not know them all. */
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 9) || !(c & 1u << 19))
        return sha256_compress_portable;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 29))
        return sha256_compress_portable;
    return sha256_compress_ni;
}

#else

static inline sha256_compress sha256_best(void) { return sha256_compress_portable; }

#endif
#endif
