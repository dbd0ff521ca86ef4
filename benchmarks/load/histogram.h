/* Latencies in logarithmic buckets: 32 to a power of two, so a percentile is off by 3 % at most. */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

#define HISTOGRAM_SUB 32
#define HISTOGRAM_BUCKETS (64 * HISTOGRAM_SUB)

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t largest;
};

static inline void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

static inline unsigned histogram_bucket(uint64_t nanoseconds)
{
    if (nanoseconds < HISTOGRAM_SUB)
        return (unsigned)nanoseconds;
    unsigned power = 63 - (unsigned)__builtin_clzll(nanoseconds);
    unsigned sub = (unsigned)(nanoseconds >> (power - 5)) & (HISTOGRAM_SUB - 1);
    return (power - 4) * HISTOGRAM_SUB + sub;
}

static inline void histogram_add(struct histogram *h, uint64_t nanoseconds)
{
    h->count[histogram_bucket(nanoseconds)]++;
    h->total++;
    if (nanoseconds > h->largest)
        h->largest = nanoseconds;
}

/* The lower edge of the bucket that holds the given share (0..1) of the values. */
static inline uint64_t histogram_percentile(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->total), seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += h->count[bucket];
        if (seen > wanted) {
            if (bucket < HISTOGRAM_SUB)
                return bucket;
            unsigned power = bucket / HISTOGRAM_SUB + 4, sub = bucket % HISTOGRAM_SUB;
            return (1ull << power) + ((uint64_t)sub << (power - 5));
        }
    }
    return h->largest;
}

#endif
