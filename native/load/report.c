#include "load.h"

#include <inttypes.h>

#define LINE_REQUESTS 200

void report_ends(struct service *service, size_t *told, FILE *out)
{
    pthread_mutex_lock(&service->lock);
    const size_t ended = service->ended;
    pthread_mutex_unlock(&service->lock);
    for (size_t in_line = 0; *told < ended; (*told)++) {
        uint32_t number = service->order[*told];
        fprintf(out, "%s[%" PRIu64 ",%" PRId32 "]", in_line == 0 ? "{\"done\":[" : ",",
                service->schedule.at[number], service->latency[number]);
        in_line = (in_line + 1) % LINE_REQUESTS;
        if (in_line == 0 || *told + 1 == ended) {
            fputs("]}\n", out);
            in_line = 0;
        }
    }
    fflush(out);
}

void report_end(struct service *service, size_t offered, FILE *out)
{
    size_t done = 0;
    pthread_mutex_lock(&service->lock);
    for (size_t i = 0; i < service->ended; i++)
        done += service->latency[service->order[i]] != LOAD_LOST;
    pthread_mutex_unlock(&service->lock);
    fprintf(out, "{\"end\":{\"offered\":%zu,\"done\":%zu,\"lost\":%zu}}\n", offered, done,
            offered - done);
    fflush(out);
}
