#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define MIB_BLOCKS (1024U * 1024U / LOAD_BLOCK)
#define MOST_THREADS 64U

struct crew {
    size_t count;
    pthread_t threads[MOST_THREADS];
};

size_t service_blocks(const struct service *service, uint64_t at)
{
    return (size_t)(profile_at(&service->set, (double)at / 1e6 / service->day * 24) * MIB_BLOCKS);
}

size_t service_most_blocks(const struct service *service)
{
    return (size_t)(profile_most(&service->set) * MIB_BLOCKS);
}

size_t service_missed(const struct service *service)
{
    size_t missed = 0;
    while (missed < service->schedule.count && service->schedule.at[missed] < service->offset)
        missed++;
    return missed;
}

static void fail(struct service *service, int error)
{
    int none = 0;
    __atomic_compare_exchange_n(&service->trouble, &none, error, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
}

static void wait_until(uint64_t moment)
{
    struct timespec when = {.tv_sec = (time_t)(moment / 1000000),
                            .tv_nsec = (long)(moment % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        ;
}

int64_t service_touching(const struct service *service, unsigned char *buffer)
{
    int64_t best = INT64_MAX;
    uint64_t chance = service->seed;
    size_t blocks = service_most_blocks(service);
    for (int i = 0; i < 50; i++) {
        uint64_t began = now();
        for (unsigned n = 0; n < service->touches; n++) {
            int result = data_touch(&service->data, blocks, chance_next(&chance), buffer);
            if (result != 0)
                return result;
        }
        int64_t took = (int64_t)(now() - began);
        best = took < best ? took : best;
    }
    return best;
}

/* Which blocks a request touches depends on the seed and its number, not on who serves it. */
static int serve(struct service *service, size_t number, unsigned char *buffer)
{
    uint64_t chance = service->seed ^ (number * UINT64_C(0x9e3779b97f4a7c15));
    size_t blocks = service_blocks(service, service->schedule.at[number]);
    for (unsigned i = 0; i < service->touches; i++) {
        int result = data_touch(&service->data, blocks, chance_next(&chance), buffer);
        if (result != 0)
            return result;
    }
    work_burn(service->iterations);
    return 0;
}

static size_t take(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    size_t number = service->next;
    if (number < service->schedule.count)
        service->next++;
    pthread_mutex_unlock(&service->lock);
    return number;
}

static void note(struct service *service, size_t number, int32_t latency)
{
    pthread_mutex_lock(&service->lock);
    service->latency[number] = latency;
    service->order[service->ended++] = (uint32_t)number;
    pthread_mutex_unlock(&service->lock);
}

static void *worker(void *argument)
{
    struct service *service = argument;
    unsigned char *buffer = malloc(LOAD_BLOCK);
    if (buffer == NULL)
        fail(service, -ENOMEM);
    for (size_t number; buffer != NULL && (number = take(service)) < service->schedule.count;) {
        uint64_t due = service->began + service->schedule.at[number];
        wait_until(due);
        if (now() - due > service->patience) {
            note(service, number, LOAD_LOST);
            continue;
        }
        int result = serve(service, number, buffer);
        if (result != 0)
            fail(service, result);
        uint64_t latency = now() - due;
        note(service, number,
             result != 0           ? LOAD_LOST
             : latency > INT32_MAX ? INT32_MAX
                                   : (int32_t)latency);
    }
    free(buffer);
    return NULL;
}

static void *hog(void *argument)
{
    struct service *service = argument;
    while (!__atomic_load_n(&service->stop, __ATOMIC_RELAXED))
        work_burn(100000);
    return NULL;
}

static void *streamer(void *argument)
{
    struct service *service = argument;
    unsigned char *buffer = malloc(LOAD_BLOCK);
    int result = buffer == NULL ? -ENOMEM : 0;
    while (result == 0 && !__atomic_load_n(&service->stop, __ATOMIC_RELAXED))
        result = data_stream(&service->data, buffer, &service->stop);
    if (result != 0)
        fail(service, result);
    free(buffer);
    return NULL;
}

static void start(struct crew *crew, struct service *service, void *(*work)(void *), unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int error = crew->count == MOST_THREADS
                        ? EAGAIN
                        : pthread_create(&crew->threads[crew->count], NULL, work, service);
        if (error != 0) {
            fail(service, -error);
            return;
        }
        crew->count++;
    }
}

static void join(struct crew *crew)
{
    for (size_t i = 0; i < crew->count; i++)
        pthread_join(crew->threads[i], NULL);
}

/* Wait for the next tick, a signal to end (true), whatever comes first. */
static bool told_to_end(void)
{
    const struct timespec tick = {.tv_nsec = 200000000};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    return sigtimedwait(&ends, NULL, &tick) > 0;
}

static bool over(struct service *service, size_t missed)
{
    uint64_t gone = now() - service->began;
    pthread_mutex_lock(&service->lock);
    bool served = service->ended + missed == service->schedule.count;
    pthread_mutex_unlock(&service->lock);
    return __atomic_load_n(&service->trouble, __ATOMIC_RELAXED) != 0 ||
           (served && (double)gone >= service->day * 1e6);
}

/* Nobody takes a request any more. */
static void close_doors(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    service->schedule.count = service->next;
    pthread_mutex_unlock(&service->lock);
    __atomic_store_n(&service->stop, true, __ATOMIC_RELAXED);
}

int service_run(struct service *service, FILE *out)
{
    struct crew crew = {0};
    size_t told = 0;
    const size_t offered = service->schedule.count, missed = service_missed(service);
    service->order = calloc(offered + 1, sizeof *service->order);
    service->latency = calloc(offered + 1, sizeof *service->latency);
    if (service->order == NULL || service->latency == NULL)
        return -ENOMEM;
    pthread_mutex_init(&service->lock, NULL);
    service->began = now() - service->offset;
    service->next = missed;
    start(&crew, service, worker, service->workers);
    start(&crew, service, hog, service->hogs);
    start(&crew, service, streamer, service->stream ? 1 : 0);
    bool early = false;
    for (int tick = 0; !early && !over(service, missed); tick++) {
        early = told_to_end();
        data_shrink(&service->data, service_blocks(service, now() - service->began));
        if (tick % 5 == 4)
            report_ends(service, &told, out);
    }
    close_doors(service);
    if (!early)
        join(&crew);
    report_ends(service, &told, out);
    report_end(service, offered - missed, out);
    if (early)
        return -EINTR;
    pthread_mutex_destroy(&service->lock);
    free(service->order);
    free(service->latency);
    return __atomic_load_n(&service->trouble, __ATOMIC_RELAXED);
}
