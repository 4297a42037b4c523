/* Attention within each text of a packed batch, in float32, for heads of 32 or 64 numbers.
 *
 * torch's operators need the texts in groups of equal length, copy queries, keys and values, and reach half of the
 * speed of a linear layer, because the matrices of a head are small. Here one text and head at a time stays in the
 * caches: its keys, transposed, its values, and the scores of ROWS queries, whose products stay in registers.
 * docs/performance.md has measurements.
 *
 * hatch_build.py compiles this file with GCC, once for AVX2 and once for AVX-512; attention.py loads it. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { LONGEST = 512, LARGEST = 64 }; /* tokens of a text, numbers of a head: as in attention.py */

#ifdef __AVX512F__
enum { WIDTH = 16, ROWS = 12 }; /* numbers of a vector; queries whose products, two vectors each, fit into registers */
#else
enum { WIDTH = 8, ROWS = 6 };
#endif

typedef float Vector __attribute__((vector_size(4 * WIDTH)));
typedef float Unaligned __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(4 * WIDTH)));

enum { LINE = LONGEST + WIDTH }; /* the scores of a query, then the highest of each column of vectors */

typedef struct {
    float keys[LONGEST * LARGEST]; /* blocks of WIDTH keys, each transposed: [block][number][key] */
    float values[LONGEST * LARGEST];
    float scores[ROWS * LINE];
    float queries[ROWS * LARGEST];
} __attribute__((aligned(64))) Scratch;

#define INLINE static inline __attribute__((always_inline)) /* so that `size` and `rows` are constants inside */
#define UNROLL _Pragma("GCC unroll 16")

INLINE Vector load(const float *from) { return *(const Unaligned *)from; }
INLINE void store(float *to, Vector vector) { *(Unaligned *)to = vector; }
INLINE Vector broadcast(float number) { return number - (Vector){}; }

#ifdef __AVX512F__
INLINE Vector max(Vector a, Vector b) { return (Vector)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE float highest(Vector x) { return _mm512_reduce_max_ps((__m512)x); }
INLINE float sum(Vector x) { return _mm512_reduce_add_ps((__m512)x); }
INLINE Vector rounded(Vector x) {
    return (Vector)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE Vector times_power(Vector x, Vector exponent) {
    return (Vector)_mm512_scalef_ps((__m512)x, (__m512)exponent);
}
#else
INLINE Vector max(Vector a, Vector b) { return (Vector)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE float highest(Vector x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
INLINE float sum(Vector x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
INLINE Vector rounded(Vector x) {
    return (Vector)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE Vector times_power(Vector x, Vector exponent) { /* adds to the exponent's bits */
    return (Vector)((Integers)x + ((Integers)_mm256_cvtps_epi32((__m256)exponent) << 23));
}
#endif

/* 2^x for x <= 0, with a relative error of 2e-7 at most; 2^-126 below -126. */
INLINE Vector exp2_of(Vector x) {
    x = max(broadcast(-126.f), x); /* in this order NaN stays NaN */
    const Vector whole = rounded(x), rest = x - whole;
    /* Minimax polynomial of degree 5 for -0.5 <= rest <= 0.5: relative error 9e-8. */
    Vector power = broadcast(1.326472708e-3f);
    power = power * rest + 9.671512862e-3f;
    power = power * rest + 5.550733746e-2f;
    power = power * rest + 2.402224128e-1f;
    power = power * rest + 6.931469776e-1f;
    power = power * rest + 1.f;
    return times_power(power, whole);
}

/* `rows` (at most WIDTH) rows of `size` numbers, `stride` apart -> `size` rows of WIDTH numbers; missing ones are 0. */
INLINE void transpose(const float *from, long stride, long rows, float *to, int size) {
    for (int start = 0; start < size; start += WIDTH) {
        Vector lines[WIDTH];
        UNROLL for (int i = 0; i < WIDTH; i++) lines[i] = i < rows ? load(from + i * stride + start) : (Vector){};
        UNROLL for (int step = 1; step < WIDTH; step *= 2) { /* swaps squares of step x step numbers */
            Integers upper, lower;
            UNROLL for (int i = 0; i < WIDTH; i++) {
                upper[i] = i & step ? WIDTH + i - step : i;
                lower[i] = i & step ? WIDTH + i : i + step;
            }
            UNROLL for (int i = 0; i < WIDTH; i++) if (!(i & step)) {
                const Vector first = lines[i], second = lines[i + step];
                lines[i] = __builtin_shuffle(first, second, upper);
                lines[i + step] = __builtin_shuffle(first, second, lower);
            }
        }
        UNROLL for (int i = 0; i < WIDTH; i++) store(to + (start + i) * WIDTH, lines[i]);
    }
}

/* The scores of `rows` queries with `blocks` (1 or 2) blocks of keys. `bias` is added to the last block. */
INLINE void score(const float *queries, const float *keys, Vector bias, float *scores, float *top, int size, int rows,
                  int blocks) {
    Vector sums[ROWS][2];
    UNROLL for (int row = 0; row < rows; row++) sums[row][0] = sums[row][1] = (Vector){};
    for (int i = 0; i < size; i++) {
        const Vector first = load(keys + i * WIDTH), second = load(keys + (blocks > 1 ? size + i : i) * WIDTH);
        UNROLL for (int row = 0; row < rows; row++) {
            const Vector query = broadcast(queries[row * size + i]);
            sums[row][0] += query * first;
            if (blocks > 1) sums[row][1] += query * second;
        }
    }
    UNROLL for (int row = 0; row < rows; row++) {
        sums[row][blocks - 1] += bias;
        for (int block = 0; block < blocks; block++) {
            store(scores + row * LINE + block * WIDTH, sums[row][block]);
            store(top + row * LINE, max(load(top + row * LINE), sums[row][block]));
        }
    }
}

/* Attention of `rows` queries of a head of a text. */
INLINE void attend_rows(const float *projected, float *result, long hidden, long length, Scratch *scratch, int size,
                        int rows) {
    const long blocks = (length + WIDTH - 1) / WIDTH;
    const float scale = 1.4426950408889634 / __builtin_sqrt(size); /* log2(e): softmax takes powers of 2 */
    float *scores = scratch->scores, *top = scores + LONGEST, *queries = scratch->queries, factors[ROWS];
    const float lowest = -1e30f;
    for (int row = 0; row < rows; row++) {
        for (int i = 0; i < size; i += WIDTH) store(queries + row * size + i, load(projected + row * 3 * hidden + i) * scale);
        store(top + row * LINE, broadcast(lowest));
    }
    Vector bias; /* excludes the keys after the last one of the text */
    for (int i = 0; i < WIDTH; i++) bias[i] = (blocks - 1) * WIDTH + i < length ? 0.f : lowest;
    long done = 0;
    for (; done < blocks - 2; done += 2)
        score(queries, scratch->keys + done * size * WIDTH, (Vector){}, scores + done * WIDTH, top, size, rows, 2);
    if (done == blocks - 2)
        score(queries, scratch->keys + done * size * WIDTH, bias, scores + done * WIDTH, top, size, rows, 2);
    else
        score(queries, scratch->keys + done * size * WIDTH, bias, scores + done * WIDTH, top, size, rows, 1);
    for (int row = 0; row < rows; row++) {
        float *line = scores + row * LINE;
        const float most = highest(load(top + row * LINE));
        Vector total = {};
        for (long i = 0; i < blocks * WIDTH; i += WIDTH) {
            const Vector power = exp2_of(load(line + i) - most);
            store(line + i, power);
            total += power;
        }
        factors[row] = 1.f / sum(total);
    }
    for (int start = 0; start < size; start += 2 * WIDTH) {
        Vector sums[ROWS][2];
        UNROLL for (int row = 0; row < rows; row++) sums[row][0] = sums[row][1] = (Vector){};
        const float *values = scratch->values + start;
        for (long key = 0; key < length; key++) {
            const Vector first = load(values + key * size), second = load(values + key * size + WIDTH);
            UNROLL for (int row = 0; row < rows; row++) {
                const Vector weight = broadcast(scores[row * LINE + key]);
                sums[row][0] += weight * first;
                sums[row][1] += weight * second;
            }
        }
        UNROLL for (int row = 0; row < rows; row++) {
            store(result + row * hidden + start, sums[row][0] * factors[row]);
            store(result + row * hidden + start + WIDTH, sums[row][1] * factors[row]);
        }
    }
}

/* Attention of a head of a text. The next head's lines, which are on other pages, are prefetched from `next`. */
INLINE void attend_head(const float *projected, const float *next, float *result, long hidden, long length,
                        Scratch *scratch, int size) {
    const long stride = 3 * hidden;
    for (long key = 0; key < length; key += WIDTH) {
        const float *from = projected + hidden + key * stride;
        if (key + WIDTH <= length)
            transpose(from, stride, WIDTH, scratch->keys + key * size, size);
        else
            transpose(from, stride, length - key, scratch->keys + key * size, size);
    }
    for (long key = 0; key < length; key++) {
        memcpy(scratch->values + key * size, projected + 2 * hidden + key * stride, size * sizeof(float));
        for (int part = 0; part < 3; part++)
            for (int i = 0; i < size; i += 16) __builtin_prefetch(next + key * stride + part * hidden + i);
    }
    const long parts = (length + ROWS - 1) / ROWS; /* of nearly equal size */
    for (long part = 0; part < parts; part++) {
        const long first = part * length / parts, rows = (part + 1) * length / parts - first;
        const float *queries = projected + first * stride;
        float *to = result + first * hidden;
        switch (rows) {
#define CASE(COUNT) case COUNT: attend_rows(queries, to, hidden, length, scratch, size, COUNT); break
            CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6);
#ifdef __AVX512F__
            CASE(7); CASE(8); CASE(9); CASE(10); CASE(11); CASE(12);
#endif
        }
    }
}

typedef void AttendHead(const float *, const float *, float *, long, long, Scratch *);

static void attend_head_of_32(const float *projected, const float *next, float *result, long hidden, long length,
                              Scratch *scratch) {
    attend_head(projected, next, result, hidden, length, scratch, 32);
}

static void attend_head_of_64(const float *projected, const float *next, float *result, long hidden, long length,
                              Scratch *scratch) {
    attend_head(projected, next, result, hidden, length, scratch, 64);
}

/* projected: (tokens, 3, heads, size), queries, keys and values. result: (tokens, heads, size).
 * bounds: texts + 1 numbers, the first token of each text and the end of the last. size: 32 or 64. */
void attend(const float *projected, float *result, const int32_t *bounds, long texts, long heads, long size) {
    const long hidden = heads * size;
    AttendHead *attend_head_of = size == 32 ? attend_head_of_32 : attend_head_of_64;
#pragma omp parallel
    {
        static _Thread_local Scratch scratch; /* too large for the stack of a thread, whose size users may set */
#pragma omp for collapse(2) schedule(dynamic)
        for (long text = 0; text < texts; text++)
            for (long head = 0; head < heads; head++) {
                const float *from = projected + bounds[text] * 3 * hidden + head * size;
                const float *next = head + 1 < heads ? from + size : projected + bounds[text + 1] * 3 * hidden;
                attend_head_of(from, next, result + bounds[text] * hidden + head * size, hidden,
                               bounds[text + 1] - bounds[text], &scratch);
            }
    }
}
