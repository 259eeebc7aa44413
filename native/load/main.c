/* wirt-load: an office service whose load is known before it begins.
 *
 *   wirt-load calibrate [cost=US] [set=PROFILE] [file=PATH] [anon=PERCENT] [touches=24]
 *       iterations after which a request has taken US microseconds (4000) of this processor, with
 *       the touching of its data, all of which is there; at least a tenth of them is iterations
 *   wirt-load plan day=S seed=N rate=PROFILE
 *       the arrivals of the day, in microseconds, without serving them
 *   wirt-load run day=S seed=N rate=PROFILE set=PROFILE iterations=N [file=PATH] [anon=PERCENT]
 *       [free=1] [touches=24] [workers=8] [patience=MS] [hogs=N] [stream=1] [wait=1]
 *       [offset=MS]
 *       serve it. rate: requests a second. set: MiB of working set, of which `anon` percent are
 *       memory and the rest lies in the file. free: memory that the working set no longer needs
 *       is given back. wait: prepare, say so, and begin at SIGUSR1. offset: how old the day is
 *       then; requests that came earlier are left out.
 *
 * PROFILE is HOUR=VALUE,... with straight lines between. Arrivals are fixed by the seed and never
 * wait for an answer; a latency counts from the scheduled arrival, and a request that could not
 * begin within its patience (2000 ms) is lost. Everything is told in JSON lines: {"ready":...},
 * {"start":UNIX_US}, {"done":[[ARRIVAL_US,LATENCY_US],...]} with a latency of -1 for a lost one,
 * {"end":...}. Exit status: 0, 1 when something failed, 2 for words that make no sense. */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct words {
    const char *file;
    unsigned cost;
    bool wait;
    struct service service;
};

_Noreturn static void misuse(const char *word)
{
    fprintf(stderr, "wirt-load: cannot understand %s\n", word);
    exit(2);
}

static uint64_t whole(const char *word, const char *text, uint64_t most)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > most)
        misuse(word);
    return value;
}

static void read_profile(const char *word, const char *text, struct profile *profile)
{
    if (profile_read(profile, text) != 0)
        misuse(word);
}

static const char *value_of(const char *word, const char *key)
{
    size_t length = strlen(key);
    return strncmp(word, key, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

/* A word of the service that is a whole number; false when it is another word. */
static bool read_number(const char *word, struct words *words)
{
    struct service *service = &words->service;
    const char *text;
    if ((text = value_of(word, "seed")) != NULL)
        service->seed = whole(word, text, UINT64_MAX);
    else if ((text = value_of(word, "iterations")) != NULL)
        service->iterations = whole(word, text, UINT64_C(1) << 40);
    else if ((text = value_of(word, "anon")) != NULL)
        service->data.anonymous = (unsigned)whole(word, text, 100);
    else if ((text = value_of(word, "free")) != NULL)
        service->data.give_back = whole(word, text, 1) == 1;
    else if ((text = value_of(word, "touches")) != NULL)
        service->touches = (unsigned)whole(word, text, 10000);
    else if ((text = value_of(word, "workers")) != NULL)
        service->workers = (unsigned)whole(word, text, 32);
    else if ((text = value_of(word, "patience")) != NULL)
        service->patience = whole(word, text, 3600000) * 1000;
    else if ((text = value_of(word, "offset")) != NULL)
        service->offset = whole(word, text, 86400000) * 1000;
    else if ((text = value_of(word, "hogs")) != NULL)
        service->hogs = (unsigned)whole(word, text, 16);
    else if ((text = value_of(word, "stream")) != NULL)
        service->stream = whole(word, text, 1) == 1;
    else if ((text = value_of(word, "cost")) != NULL)
        words->cost = (unsigned)whole(word, text, 1000000);
    else if ((text = value_of(word, "wait")) != NULL)
        words->wait = whole(word, text, 1) == 1;
    else
        return false;
    return true;
}

static void read_words(int argc, char **argv, struct words *words)
{
    for (int i = 2; i < argc; i++) {
        const char *text;
        if (read_number(argv[i], words))
            continue;
        if ((text = value_of(argv[i], "file")) != NULL)
            words->file = text;
        else if ((text = value_of(argv[i], "day")) != NULL)
            words->service.day = (double)whole(argv[i], text, 86400);
        else if ((text = value_of(argv[i], "rate")) != NULL)
            read_profile(argv[i], text, &words->service.rate);
        else if ((text = value_of(argv[i], "set")) != NULL)
            read_profile(argv[i], text, &words->service.set);
        else
            misuse(argv[i]);
    }
}

static int failed(const char *what, int error)
{
    fprintf(stderr, "wirt-load: %s: %s\n", what, strerror(-error));
    return 1;
}

static int plan(const struct schedule *schedule)
{
    fputs("[", stdout);
    for (size_t i = 0; i < schedule->count; i++)
        printf("%s%" PRIu64, i == 0 ? "" : ",", schedule->at[i]);
    puts("]");
    return 0;
}

/* The first working set is there already, as in a service that runs for days. */
static int prepare(struct words *words, size_t blocks, unsigned char *buffer)
{
    struct service *service = &words->service;
    int result = data_prepare(&service->data, words->file, service_most_blocks(service));
    return result == 0 ? data_warm(&service->data, blocks, buffer) : result;
}

static int calibrate(struct words *words, unsigned char *buffer)
{
    struct service *service = &words->service;
    int64_t touching = prepare(words, service_most_blocks(service), buffer);
    if (touching == 0)
        touching = service_touching(service, buffer);
    if (touching < 0)
        return failed("data", (int)touching);
    const int64_t least = words->cost / 10, rest = (int64_t)words->cost - touching;
    printf("{\"iterations\":%" PRIu64 ",\"touching\":%" PRId64 "}\n",
           work_calibrate((unsigned)(rest < least ? least : rest)), touching);
    return 0;
}

/* False when a signal said to end instead. */
static bool wait_for_start(void)
{
    sigset_t all;
    int number;
    sigemptyset(&all);
    sigaddset(&all, SIGUSR1);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGINT);
    return sigwait(&all, &number) == 0 && number == SIGUSR1;
}

static int run(struct words *words, unsigned char *buffer)
{
    struct service *service = &words->service;
    struct timespec clock;
    int result = prepare(words, service_blocks(service, service->offset), buffer);
    if (result != 0)
        return failed(words->file == NULL ? "data" : words->file, result);
    printf("{\"ready\":{\"offered\":%zu}}\n", service->schedule.count - service_missed(service));
    fflush(stdout);
    if (words->wait && !wait_for_start())
        return 0;
    clock_gettime(CLOCK_REALTIME, &clock);
    printf("{\"start\":%" PRIu64 "}\n",
           (uint64_t)clock.tv_sec * 1000000 + (uint64_t)clock.tv_nsec / 1000);
    result = service_run(service, stdout);
    return result == 0 || result == -EINTR ? 0 : failed("serving", result);
}

int main(int argc, char **argv)
{
    struct words words = {.cost = 4000,
                          .service = {.touches = 24, .workers = 8, .patience = 2000000}};
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGUSR1);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    if (argc < 2)
        misuse("nothing: say calibrate, plan or run");
    read_words(argc, argv, &words);
    struct service *service = &words.service;
    static unsigned char buffer[LOAD_BLOCK];
    if (strcmp(argv[1], "calibrate") == 0)
        return calibrate(&words, buffer);
    const bool serves = strcmp(argv[1], "run") == 0;
    if (!serves && strcmp(argv[1], "plan") != 0)
        misuse(argv[1]);
    if (service->day < 1)
        misuse("no day: say how many seconds it has");
    int result = schedule_make(&service->schedule, &service->rate, service->day, service->seed);
    if (result != 0)
        return failed("schedule", result);
    return serves ? run(&words, buffer) : plan(&service->schedule);
}
