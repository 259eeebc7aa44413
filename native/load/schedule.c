#include "load.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* The generator known as splitmix64: small, and good enough for arrivals. */
uint64_t chance_next(uint64_t *state)
{
    uint64_t mixed = (*state += UINT64_C(0x9e3779b97f4a7c15));
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

double chance_unit(uint64_t *state)
{
    return (double)((chance_next(state) >> 11) + 1) * 0x1p-53;
}

static int grow(struct schedule *schedule, size_t *room)
{
    size_t wanted = *room == 0 ? 1024 : *room * 2;
    uint64_t *larger = realloc(schedule->at, wanted * sizeof *larger);
    if (larger == NULL)
        return -ENOMEM;
    schedule->at = larger;
    *room = wanted;
    return 0;
}

/* A steady stream at the highest rate, of which each arrival is kept with the chance that the rate
 * of its moment gives it. */
int schedule_make(struct schedule *schedule, const struct profile *rate, double day, uint64_t seed)
{
    double most = profile_most(rate), moment = 0;
    size_t room = 0;
    *schedule = (struct schedule){0};
    if (most <= 0)
        return 0;
    if (most * day > LOAD_MOST_REQUESTS)
        return -E2BIG;
    for (;;) {
        moment -= log(chance_unit(&seed)) / most;
        if (moment >= day)
            return 0;
        double kept = chance_unit(&seed);
        if (kept * most > profile_at(rate, moment / day * 24))
            continue;
        if (schedule->count == room && grow(schedule, &room) != 0) {
            schedule_free(schedule);
            return -ENOMEM;
        }
        schedule->at[schedule->count++] = (uint64_t)(moment * 1e6);
    }
}

void schedule_free(struct schedule *schedule)
{
    free(schedule->at);
    *schedule = (struct schedule){0};
}
