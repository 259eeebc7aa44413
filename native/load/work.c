#include "load.h"

#include <time.h>

uint64_t now(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t)moment.tv_sec * 1000000 + (uint64_t)moment.tv_nsec / 1000;
}

void work_burn(uint64_t iterations)
{
    uint64_t mixed = iterations;
    for (uint64_t i = 0; i < iterations; i++) {
        mixed = (mixed ^ (mixed >> 31)) * UINT64_C(0x9e3779b97f4a7c15) + i;
        __asm__ volatile("" : "+r"(mixed)); /* or the compiler finds that nobody needs it */
    }
}

/* Whoever else runs can only make a try longer, so that the quickest is the right one. */
uint64_t work_calibrate(unsigned cost)
{
    const uint64_t tried = 500000;
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 200; i++) {
        uint64_t began = now();
        work_burn(tried);
        uint64_t took = now() - began;
        if (took > 0 && took < best)
            best = took;
    }
    return tried * cost / best;
}
