#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../load/load.h"
#include "check.h"

static struct profile profile(const char *text)
{
    struct profile read;
    CHECK(profile_read(&read, text) == 0);
    return read;
}

static void a_profile_has_straight_lines(void)
{
    struct profile read = profile("6=10,8=30,8.5=0");
    CHECK(profile_at(&read, 0) == 10 && profile_at(&read, 6) == 10);
    CHECK(profile_at(&read, 7) == 20 && profile_at(&read, 8) == 30);
    CHECK(profile_at(&read, 8.25) == 15 && profile_at(&read, 24) == 0);
    CHECK(profile_most(&read) == 30);
}

static void what_is_no_profile_is_refused(void)
{
    const char *wrong[] = {"",     "7",    "7=",    "=7",    "7=1,", "7=1,7=2", "8=1,7=2", "25=1",
                           "7=-1", "-1=1", "7=nan", "7=inf", "7=1 ", "7=1;8=2", "7=1e999", "nan=1"};
    struct profile read;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(profile_read(&read, wrong[i]) == -EINVAL);
    char many[LOAD_POINTS * 8 + 16] = "";
    for (int i = 0; i <= LOAD_POINTS; i++)
        sprintf(many + strlen(many), "%s%.2f=1", i == 0 ? "" : ",", i / 4.0);
    CHECK(profile_read(&read, many) == -EINVAL);
}

static void the_seed_alone_decides_the_arrivals(void)
{
    struct profile rate = profile("0=50,12=200,24=50");
    struct schedule one, again, other;
    CHECK(schedule_make(&one, &rate, 20, 7) == 0 && schedule_make(&again, &rate, 20, 7) == 0);
    CHECK(schedule_make(&other, &rate, 20, 8) == 0);
    CHECK(one.count == again.count && memcmp(one.at, again.at, one.count * sizeof *one.at) == 0);
    CHECK(one.at[0] != other.at[0]);
    for (size_t i = 1; i < one.count; i++)
        CHECK(one.at[i - 1] <= one.at[i]);
    CHECK(one.at[one.count - 1] < 20000000);
    /* 125 a second on average; five standard deviations of a Poisson count */
    CHECK(fabs((double)one.count - 2500) < 5 * sqrt(2500));
    schedule_free(&one);
    schedule_free(&again);
    schedule_free(&other);
}

static void arrivals_follow_the_profile(void)
{
    struct profile rate = profile("0=0,11.9=0,12=100,24=100");
    struct schedule made;
    CHECK(schedule_make(&made, &rate, 60, 3) == 0);
    CHECK(made.count > 2500 && made.at[0] > 29000000);
    schedule_free(&made);
    rate = profile("0=0");
    CHECK(schedule_make(&made, &rate, 60, 3) == 0 && made.count == 0);
    rate = profile("0=1000000");
    CHECK(schedule_make(&made, &rate, 60, 3) == -E2BIG);
}

static size_t resident(const struct data *data)
{
    size_t count = 0, pages = data->memory_blocks * LOAD_BLOCK / 4096;
    unsigned char *seen = malloc(pages);
    CHECK(seen != NULL && mincore(data->memory, data->memory_blocks * LOAD_BLOCK, seen) == 0);
    for (size_t i = 0; i < pages; i++)
        count += seen[i] & 1;
    free(seen);
    return count * 4096 / LOAD_BLOCK;
}

static void a_working_set_is_file_and_memory(void)
{
    char path[] = "/tmp/wirt-load-test.XXXXXX";
    static unsigned char buffer[LOAD_BLOCK];
    struct data data = {.anonymous = 25, .give_back = true};
    struct stat about;
    close(mkstemp(path));
    CHECK(data_prepare(&data, path, 80) == 0);
    CHECK(stat(path, &about) == 0 && about.st_size == 60 * (off_t)LOAD_BLOCK);
    CHECK(data.memory_blocks == 20 && resident(&data) == 0);
    CHECK(data_warm(&data, 40, buffer) == 0 && resident(&data) == 10);
    CHECK(data_warm(&data, 80, buffer) == 0 && resident(&data) == 20);
    data_shrink(&data, 16);
    CHECK(resident(&data) == 4);
    CHECK(data_touch(&data, 80, 19, buffer) == 0 && resident(&data) == 5);
    CHECK(data_touch(&data, 80, 79, buffer) == 0 && resident(&data) == 5);
    CHECK(data_touch(&data, 0, 3, buffer) == 0);
    data_close(&data);
    CHECK(truncate(path, 61 * (off_t)LOAD_BLOCK) == 0); /* another size: written anew */
    CHECK(data_prepare(&data, path, 80) == 0 && data_warm(&data, 80, buffer) == 0);
    data_close(&data);
    unlink(path);
    CHECK(data_prepare(&data, NULL, 80) == -EINVAL);
    data_close(&data);
}

static void kept_memory_is_not_given_back(void)
{
    static unsigned char buffer[LOAD_BLOCK];
    struct data data = {.anonymous = 100, .give_back = false};
    CHECK(data_prepare(&data, NULL, 16) == 0 && data.fd == -1);
    CHECK(data_warm(&data, 16, buffer) == 0);
    data_shrink(&data, 1);
    CHECK(resident(&data) == 16);
    data_close(&data);
}

static void touching_is_measured(void)
{
    static unsigned char buffer[LOAD_BLOCK];
    struct service service = {.set = profile("0=2"), .touches = 24, .data = {.anonymous = 100}};
    CHECK(data_prepare(&service.data, NULL, service_most_blocks(&service)) == 0);
    CHECK(data_warm(&service.data, service_most_blocks(&service), buffer) == 0);
    int64_t took = service_touching(&service, buffer);
    CHECK(took >= 0 && took < 1000000);
    data_close(&service.data);
}

/* Serves it; what was told, to be freed. */
static char *told(struct service *service)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    CHECK(out != NULL);
    CHECK(schedule_make(&service->schedule, &service->rate, service->day, service->seed) == 0);
    CHECK(data_prepare(&service->data, NULL, service_most_blocks(service)) == 0);
    CHECK(service_run(service, out) == 0);
    fclose(out);
    data_close(&service->data);
    return text;
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void every_request_is_told_once(void)
{
    struct service service = {.rate = profile("0=300"),
                              .set = profile("0=1"),
                              .day = 1,
                              .seed = 5,
                              .touches = 3,
                              .workers = 4,
                              .patience = 60000000,
                              .data = {.anonymous = 100}};
    char *text = told(&service);
    char last[64];
    snprintf(last, sizeof last, "{\"end\":{\"offered\":%zu,\"done\":%zu,\"lost\":0}}\n",
             service.schedule.count, service.schedule.count);
    CHECK(strstr(text, last) != NULL);
    /* a pair for each request and no more: the lists have one bracket more each */
    CHECK(count_of(text, "[") - count_of(text, "\"done\":[") == service.schedule.count);
    for (size_t i = 0; i < service.schedule.count; i++) {
        char pair[32];
        snprintf(pair, sizeof pair, "[%llu,", (unsigned long long)service.schedule.at[i]);
        CHECK(strstr(text, pair) != NULL);
    }
    free(text);
    schedule_free(&service.schedule);
}

static void a_day_can_begin_late(void)
{
    struct service service = {.rate = profile("0=200"),
                              .set = profile("0=1"),
                              .day = 2,
                              .seed = 5,
                              .touches = 1,
                              .workers = 2,
                              .patience = 60000000,
                              .offset = 1500000,
                              .data = {.anonymous = 100}};
    char *text = told(&service);
    size_t served = 0;
    for (size_t i = 0; i < service.schedule.count; i++) {
        char pair[32];
        snprintf(pair, sizeof pair, "[%llu,", (unsigned long long)service.schedule.at[i]);
        bool late = service.schedule.at[i] >= service.offset;
        CHECK((strstr(text, pair) != NULL) == late);
        served += late;
    }
    CHECK(served > 50 && served == service.schedule.count - service_missed(&service));
    char last[96];
    snprintf(last, sizeof last, "{\"end\":{\"offered\":%zu,\"done\":%zu,\"lost\":0}}\n", served,
             served);
    CHECK(strstr(text, last) != NULL);
    free(text);
    schedule_free(&service.schedule);
}

static void what_nobody_waits_for_is_lost_and_costs_nothing(void)
{
    struct service service = {.rate = profile("0=2000"),
                              .set = profile("0=1"),
                              .day = 1,
                              .seed = 5,
                              .touches = 1,
                              .workers = 1,
                              .patience = 1000,
                              .iterations = 20000000,
                              .hogs = 1,
                              .data = {.anonymous = 100}};
    char *text = told(&service);
    size_t lost = count_of(text, ",-1]");
    CHECK(lost > service.schedule.count / 2 && lost < service.schedule.count);
    char last[64];
    snprintf(last, sizeof last, "\"done\":%zu,\"lost\":%zu}}", service.schedule.count - lost, lost);
    CHECK(strstr(text, last) != NULL);
    free(text);
    schedule_free(&service.schedule);
}

int main(void)
{
    RUN(a_profile_has_straight_lines);
    RUN(what_is_no_profile_is_refused);
    RUN(the_seed_alone_decides_the_arrivals);
    RUN(arrivals_follow_the_profile);
    RUN(a_working_set_is_file_and_memory);
    RUN(kept_memory_is_not_given_back);
    RUN(touching_is_measured);
    RUN(every_request_is_told_once);
    RUN(a_day_can_begin_late);
    RUN(what_nobody_waits_for_is_lost_and_costs_nothing);
    return 0;
}
