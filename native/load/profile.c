#include "load.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const double HOURS = 24;

static int number(const char **text, double *value)
{
    char *end;
    if ((**text < '0' || **text > '9') && **text != '.')
        return -EINVAL;
    *value = strtod(*text, &end);
    if (end == *text || !isfinite(*value))
        return -EINVAL;
    *text = end;
    return 0;
}

int profile_read(struct profile *profile, const char *text)
{
    profile->count = 0;
    for (;;) {
        double hour, value;
        if (profile->count == LOAD_POINTS || number(&text, &hour) != 0 || *text++ != '=' ||
            number(&text, &value) != 0)
            return -EINVAL;
        if (hour > HOURS || (profile->count > 0 && hour <= profile->hour[profile->count - 1]))
            return -EINVAL;
        profile->hour[profile->count] = hour;
        profile->value[profile->count++] = value;
        if (*text == '\0')
            return 0;
        if (*text++ != ',')
            return -EINVAL;
    }
}

double profile_at(const struct profile *profile, double hour)
{
    size_t after = 0;
    while (after < profile->count && profile->hour[after] <= hour)
        after++;
    if (profile->count == 0)
        return 0;
    if (after == 0)
        return profile->value[0];
    if (after == profile->count)
        return profile->value[after - 1];
    double from = profile->hour[after - 1], to = profile->hour[after];
    double part = (hour - from) / (to - from);
    return profile->value[after - 1] * (1 - part) + profile->value[after] * part;
}

double profile_most(const struct profile *profile)
{
    double most = 0;
    for (size_t i = 0; i < profile->count; i++)
        most = fmax(most, profile->value[i]);
    return most;
}
