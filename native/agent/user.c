#include "user.h"

#include "../wire/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MAX = 8 << 20, FIELDS = 7 };
#define ID_MAX 2147483647u

/* The lines of a file: opened without waiting, read up to a bound. */
struct lines {
    FILE *file;
    char *line;
    size_t size;
    off_t total;
};

/* Without a usable file there are simply no lines. lines_close() is due in any case. */
static void lines_open(struct lines *lines, const char *path)
{
    *lines = (struct lines){0};
    cleanup_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    lines->size = 65536;
    lines->line = malloc(lines->size);
    lines->file = lines->line == NULL ? NULL : fdopen(fd, "re");
    if (lines->file != NULL)
        fd = -1;
}

static void lines_close(struct lines *lines)
{
    if (lines->file != NULL)
        fclose(lines->file);
    free(lines->line);
}

/* Cuts the next line at ':' into `fields` and returns how many there are, 0 at the end. */
static int lines_next(struct lines *lines, char *fields[FIELDS])
{
    if (lines->file == NULL || lines->total >= FILE_MAX ||
        fgets(lines->line, (int)lines->size, lines->file) == NULL)
        return 0;
    /* Not strlen: a file of NUL bytes is as long as any other. */
    lines->total = ftello(lines->file);
    size_t length = strlen(lines->line);
    if (length > 0 && lines->line[length - 1] == '\n')
        lines->line[length - 1] = '\0';
    int count = 0;
    char *rest = lines->line;
    while (count < FIELDS && rest != NULL)
        fields[count++] = strsep(&rest, ":");
    for (int i = count; i < FIELDS; i++)
        fields[i] = "";
    return count;
}

/* A decimal number of an id, or -1. */
static long id_of(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > 10 || strspn(text, "0123456789") != length)
        return -1;
    unsigned long value = strtoul(text, NULL, 10);
    return value > ID_MAX ? -1 : (long)value;
}

/* Looks `wish` up by name, else by number. Whether an entry was found. */
static bool search_passwd(const char *path, const char *wish, struct user *out)
{
    struct lines lines;
    long number = id_of(wish);
    bool by_number = false, by_name = false;
    char *field[FIELDS];
    lines_open(&lines, path);
    while (!by_name && lines_next(&lines, field) > 0) {
        long uid = id_of(field[2]), gid = id_of(field[3]);
        if (uid < 0 || gid < 0)
            continue;
        by_name = strcmp(field[0], wish) == 0;
        bool numeric = !by_number && uid == number;
        if (!by_name && !numeric)
            continue;
        by_number = true;
        out->uid = (uid_t)uid;
        out->gid = (gid_t)gid;
        snprintf(out->name, sizeof out->name, "%s", field[0]);
        snprintf(out->home, sizeof out->home, "%s", field[5]);
    }
    lines_close(&lines);
    return by_number;
}

static bool is_member(char *members, const char *name)
{
    for (char *rest = members, *member; (member = strsep(&rest, ",")) != NULL;)
        if (*member != '\0' && strcmp(member, name) == 0)
            return true;
    return false;
}

/* The groups that list the user as a member. */
static void search_memberships(const char *path, struct user *out)
{
    struct lines lines;
    char *field[FIELDS];
    if (*out->name == '\0')
        return;
    lines_open(&lines, path);
    while (out->group_count < USER_GROUPS_MAX && lines_next(&lines, field) > 0) {
        long gid = id_of(field[2]);
        if (gid >= 0 && is_member(field[3], out->name))
            out->groups[out->group_count++] = (gid_t)gid;
    }
    lines_close(&lines);
}

static bool search_group(const char *path, const char *wish, gid_t *out)
{
    struct lines lines;
    char *field[FIELDS];
    bool found = false;
    lines_open(&lines, path);
    while (!found && lines_next(&lines, field) > 0) {
        long gid = id_of(field[2]);
        found = gid >= 0 && strcmp(field[0], wish) == 0;
        if (found)
            *out = (gid_t)gid;
    }
    lines_close(&lines);
    long number = id_of(wish);
    if (!found && number >= 0) {
        *out = (gid_t)number;
        found = true;
    }
    return found;
}

int find_user(const char *wish, const char *passwd, const char *group, struct user *out,
              struct failure *why)
{
    char name[256];
    const char *colon = strchr(wish, ':');
    size_t length = colon == NULL ? strlen(wish) : (size_t)(colon - wish);
    *out = (struct user){0};
    if (length >= sizeof name)
        return fail(why, EINVAL, "the user's name is too long");
    memcpy(name, wish, length);
    name[length] = '\0';
    if (length == 0)
        strcpy(name, "0");
    if (!search_passwd(passwd, name, out)) {
        long number = id_of(name);
        if (number < 0)
            return fail(why, 0, "unable to find user %s: no matching entries in passwd file", name);
        out->uid = (uid_t)number;
    }
    if (*out->home != '/')
        strcpy(out->home, "/");
    if (colon != NULL && colon[1] != '\0') {
        if (!search_group(group, colon + 1, &out->gid))
            return fail(why, 0, "unable to find group %.200s: no matching entries in group file",
                        colon + 1);
    } else {
        search_memberships(group, out);
    }
    return 0;
}
