#include "call.h"
#include "files.h"

#include <ctype.h>
#include <dirent.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KTHREADD = 2 };

/* One line of /proc/<pid>/stat. */
struct task {
    int pid, parent, terminal;
    uint64_t user, system, started; /* clock ticks */
    char name[64];
};

static bool read_task(const char *pid, struct task *task)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    if (read_text(path, text, sizeof text) <= 0)
        return false;
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (open == NULL || close == NULL)
        return false;
    *close = '\0';
    snprintf(task->name, sizeof task->name, "%s", open + 1);
    task->pid = atoi(text);
    unsigned long long user, system, started;
    if (sscanf(close + 2,
               "%*c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
               "%*d %llu",
               &task->parent, &task->terminal, &user, &system, &started) != 5)
        return false;
    task->user = user;
    task->system = system;
    task->started = started;
    return true;
}

/* The next process that belongs to the guest. */
static bool next_task(DIR *proc, struct task *task)
{
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;)
        if (isdigit((unsigned char)entry->d_name[0]) && read_task(entry->d_name, task) &&
            task->pid != 1 && task->pid != KTHREADD && task->parent != KTHREADD &&
            task->pid != getpid())
            return true;
    return false;
}

static int64_t count_tasks(void)
{
    DIR *proc = opendir("/proc");
    struct task task;
    int64_t count = 0;
    while (proc != NULL && next_task(proc, &task))
        count++;
    if (proc != NULL)
        closedir(proc);
    return count;
}

static void put_cpu(struct wire_record *record)
{
    char text[4096];
    unsigned long long user = 0, nice = 0, system = 0;
    uint64_t tick = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
    read_text("/proc/stat", text, sizeof text);
    sscanf(text, "cpu %llu %llu %llu", &user, &nice, &system);
    wire_put_number(record, "cpu_user_ns", (int64_t)((user + nice) * tick));
    wire_put_number(record, "cpu_system_ns", (int64_t)(system * tick));
}

static int64_t kilobytes(const char *text, const char *key)
{
    const char *line = strstr(text, key);
    return line == NULL ? 0 : strtoll(line + strlen(key), NULL, 10) * 1024;
}

static void put_memory(struct wire_record *record)
{
    char text[4096];
    read_text("/proc/meminfo", text, sizeof text);
    int64_t total = kilobytes(text, "MemTotal:");
    wire_put_number(record, "memory", total - kilobytes(text, "MemAvailable:"));
    wire_put_number(record, "memory_cache", kilobytes(text, "\nCached:"));
    wire_put_number(record, "memory_limit", total);
}

static void put_network(struct wire_record *record)
{
    char text[8192];
    int64_t received = 0, sent = 0;
    read_text("/proc/net/dev", text, sizeof text);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        unsigned long long in, out;
        char name[32];
        if (sscanf(line, " %31[^:]: %llu %*u %*u %*u %*u %*u %*u %*u %llu", name, &in, &out) == 3 &&
            strcmp(name, "lo") != 0) {
            received += (int64_t)in;
            sent += (int64_t)out;
        }
    }
    wire_put_number(record, "net_received", received);
    wire_put_number(record, "net_sent", sent);
}

static void put_disks(struct wire_record *record)
{
    char text[8192];
    int64_t in = 0, out = 0;
    read_text("/proc/diskstats", text, sizeof text);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        unsigned long long read_sectors, written_sectors;
        char name[32];
        if (sscanf(line, " %*u %*u %31s %*u %*u %llu %*u %*u %*u %llu", name, &read_sectors,
                   &written_sectors) == 3 &&
            strncmp(name, "vd", 2) == 0) {
            in += (int64_t)read_sectors * 512;
            out += (int64_t)written_sectors * 512;
        }
    }
    wire_put_number(record, "block_read", in);
    wire_put_number(record, "block_written", out);
}

void call_stats(const struct order *order)
{
    struct wire_record record = {0};
    put_cpu(&record);
    put_memory(&record);
    put_network(&record);
    put_disks(&record);
    wire_put_number(&record, "pids", count_tasks());
    child_report(order, WIRE_A_RESULT, &record);
}

static void put_command(const struct task *task, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cmdline", task->pid);
    ssize_t length = read_text(path, out, size);
    if (length <= 0) {
        snprintf(out, size, "[%s]", task->name);
        return;
    }
    /* A process writes its own command line: nothing of it may look like a separator. */
    for (ssize_t i = 0; i < length - 1; i++)
        if ((unsigned char)out[i] < ' ')
            out[i] = ' ';
    out[length - 1] = (unsigned char)out[length - 1] < ' ' ? '\0' : out[length - 1];
}

static int owner_of(const struct task *task)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/status", task->pid);
    const char *line = read_text(path, text, sizeof text) > 0 ? strstr(text, "\nUid:") : NULL;
    return line == NULL ? 0 : atoi(line + 5);
}

static void put_row(struct wire_record *record, const struct task *task, time_t booted)
{
    char command[1024], row[1400], started[16], terminal[16] = "?", cpu[32];
    long ticks = sysconf(_SC_CLK_TCK);
    time_t begin = booted + (time_t)(task->started / (uint64_t)ticks);
    struct tm local;
    gmtime_r(&begin, &local);
    strftime(started, sizeof started, "%H:%M", &local);
    uint64_t seconds = (task->user + task->system) / (uint64_t)ticks;
    snprintf(cpu, sizeof cpu, "%02llu:%02llu:%02llu", (unsigned long long)seconds / 3600,
             (unsigned long long)seconds / 60 % 60, (unsigned long long)seconds % 60);
    if (task->terminal >> 8 == 136)
        snprintf(terminal, sizeof terminal, "pts/%d", task->terminal & 0xff);
    put_command(task, command, sizeof command);
    snprintf(row, sizeof row, "%d\037%d\037%d\0370\037%s\037%s\037%s\037%s", owner_of(task),
             task->pid, task->parent, started, terminal, cpu, command);
    wire_put(record, "row", row);
}

static time_t boot_time(void)
{
    struct timespec now, up;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    return now.tv_sec - up.tv_sec;
}

void call_processes(const struct order *order)
{
    static const char *const titles[] = {"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"};
    struct wire_record record = {0};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        wire_put(&record, "title", titles[i]);
    DIR *proc = opendir("/proc");
    struct task task;
    while (proc != NULL && record.error == 0 && next_task(proc, &task))
        put_row(&record, &task, boot_time());
    /* Too many to tell: those that fit are told. */
    record.error = 0;
    child_report(order, WIRE_A_RESULT, &record);
}
