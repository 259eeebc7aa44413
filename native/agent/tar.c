/* The format alone: headers to members and back. */
#include "tar.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

/* Octal digits, or GNU's big-endian binary with the top bit set. */
static uint64_t number_of(const char *field, size_t size)
{
    uint64_t value = 0;
    if (*field & 0x80) {
        for (size_t i = 1; i < size; i++)
            value = value << 8 | (uint8_t)field[i];
        return value;
    }
    size_t i = 0;
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(field[i] - '0');
    return value;
}

static unsigned checksum_of(const struct header *header)
{
    const uint8_t *byte = (const uint8_t *)header;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof *header; i++)
        sum += i >= 148 && i < 156 ? ' ' : byte[i];
    return sum;
}

static bool all_zero(const struct header *header)
{
    static const char zero[TAR_BLOCK];
    return memcmp(header, zero, sizeof zero) == 0;
}

static int skip(struct tar_reader *reader)
{
    char drop[4096];
    uint64_t left = reader->left + reader->padding;
    while (left > 0) {
        ssize_t count = read_all(reader->fd, drop, left < sizeof drop ? left : sizeof drop);
        if (count <= 0)
            return count == 0 ? -EBADMSG : (int)count;
        left -= (uint64_t)count;
    }
    reader->left = reader->padding = 0;
    return 0;
}

/* The content of an extended header or long name, NUL-terminated. */
static char *read_extra(struct tar_reader *reader, uint64_t size)
{
    char *text = size > TAR_EXTRA_MAX ? NULL : malloc(size + 1);
    if (text == NULL || read_all(reader->fd, text, size) != (ssize_t)size) {
        free(text);
        return NULL;
    }
    text[size] = '\0';
    reader->left = 0;
    reader->padding = -size % TAR_BLOCK;
    if (skip(reader) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* What extended headers say of the member to come. */
struct extra {
    char *path, *link, *size, *uid, *gid, *mtime;
    char *pax, *long_path, *long_link; /* owned */
    size_t pax_size;
};

static void free_extra(struct extra *extra)
{
    free(extra->pax);
    free(extra->long_path);
    free(extra->long_link);
    *extra = (struct extra){0};
}

/*
 * One record "length key=value\n". Its length, or 0 when it is none; `value` points behind the '='.
 * The bytes up to `left` are followed by a NUL.
 */
static size_t parse_record(const char *at, size_t left, const char **key, const char **value)
{
    char *end;
    unsigned long length = strtoul(at, &end, 10);
    if (end == at || *end != ' ' || length > left || (size_t)(end + 2 - at) >= length ||
        at[length - 1] != '\n')
        return 0;
    *key = end + 1;
    const char *equals = memchr(*key, '=', (size_t)(at + length - *key));
    if (equals == NULL)
        return 0;
    *value = equals + 1;
    return length;
}

static bool is_key(const char *key, const char *value, const char *wanted)
{
    size_t length = strlen(wanted);
    return (size_t)(value - key) == length + 1 && memcmp(key, wanted, length) == 0;
}

static int parse_pax(struct extra *extra)
{
    struct {
        const char *key;
        char **slot;
    } known[] = {
        {"path", &extra->path}, {"linkpath", &extra->link}, {"size", &extra->size},
        {"uid", &extra->uid},   {"gid", &extra->gid},       {"mtime", &extra->mtime},
    };
    const char *key, *value;
    size_t length;
    for (size_t at = 0; at < extra->pax_size; at += length) {
        char *record = extra->pax + at;
        length = parse_record(record, extra->pax_size - at, &key, &value);
        if (length == 0)
            return -EBADMSG;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (is_key(key, value, known[i].key)) {
                *known[i].slot = extra->pax + (value - extra->pax);
                record[length - 1] = '\0';
            }
    }
    return 0;
}

bool tar_each_xattr(const struct tar_member *member, size_t *at, const char **name,
                    const char **value, size_t *size)
{
    static const char prefix[] = "SCHILY.xattr.";
    while (member->xattrs != NULL && *at < member->xattr_size) {
        const char *record = member->xattrs + *at, *key;
        /* A record whose value was taken before ends with NUL: its length was checked then. */
        unsigned long length = strtoul(record, NULL, 10);
        if (length == 0 || length > member->xattr_size - *at)
            return false;
        *at += length;
        if (parse_record(record, length, &key, value) == length &&
            (size_t)(*value - key) > sizeof prefix && memcmp(key, prefix, sizeof prefix - 1) == 0) {
            *name = key + sizeof prefix - 1;
            *size = length - (size_t)(*value - record) - 1;
            return true;
        }
    }
    return false;
}

static int set_name(char out[TAR_PATH_MAX], const char *text)
{
    if (strlen(text) >= TAR_PATH_MAX)
        return -ENAMETOOLONG;
    strcpy(out, text);
    return 0;
}

static int fill_member(const struct header *header, struct extra *extra, struct tar_member *member)
{
    char name[sizeof header->prefix + sizeof header->name + 2], link[sizeof header->link + 1];
    bool prefixed = memcmp(header->magic, "ustar", 6) == 0 && *header->prefix != '\0';
    snprintf(name, sizeof name, "%.*s%s%.*s", prefixed ? 155 : 0, header->prefix,
             prefixed ? "/" : "", 100, header->name);
    snprintf(link, sizeof link, "%.*s", 100, header->link);
    *member = (struct tar_member){
        .type = header->type == '\0' || header->type == '7' ? '0' : header->type,
        .mode = (mode_t)number_of(header->mode, 8) & 07777,
        .uid = extra->uid ? strtoull(extra->uid, NULL, 10) : number_of(header->uid, 8),
        .gid = extra->gid ? strtoull(extra->gid, NULL, 10) : number_of(header->gid, 8),
        .size = extra->size ? strtoull(extra->size, NULL, 10) : number_of(header->size, 12),
        .mtime =
            extra->mtime ? strtoll(extra->mtime, NULL, 10) : (int64_t)number_of(header->mtime, 12),
        .major = (unsigned)number_of(header->major, 8),
        .minor = (unsigned)number_of(header->minor, 8),
        .xattrs = steal_pointer(extra->pax),
        .xattr_size = extra->pax_size,
    };
    const char *path = extra->path ? extra->path : extra->long_path ? extra->long_path : name;
    const char *target = extra->link ? extra->link : extra->long_link ? extra->long_link : link;
    int error = set_name(member->path, path);
    return error != 0 ? error : set_name(member->link, target);
}

static int next_header(struct tar_reader *reader, struct header *header)
{
    int error = skip(reader);
    ssize_t count = error != 0 ? error : read_all(reader->fd, header, sizeof *header);
    if (count < 0)
        return (int)count;
    if (count == 0 || (count == sizeof *header && all_zero(header)))
        return 0;
    if (count != sizeof *header || number_of(header->checksum, 8) != checksum_of(header))
        return -EBADMSG;
    return 1;
}

/* Takes an extended header in. 1: it was one; 0: it is an ordinary member; else -errno. */
static int take_extra(struct tar_reader *reader, const struct header *header, struct extra *extra)
{
    uint64_t size = number_of(header->size, sizeof header->size);
    char **slot = header->type == 'x'   ? &extra->pax
                  : header->type == 'L' ? &extra->long_path
                  : header->type == 'K' ? &extra->long_link
                                        : NULL;
    if (header->type == 'g') {
        reader->left = size;
        reader->padding = -size % TAR_BLOCK;
        return 1;
    }
    if (slot == NULL)
        return 0;
    free(*slot);
    *slot = read_extra(reader, size);
    if (*slot == NULL)
        return -EBADMSG;
    if (header->type == 'x') {
        extra->path = extra->link = extra->size = extra->uid = extra->gid = extra->mtime = NULL;
        extra->pax_size = size;
        return parse_pax(extra) == 0 ? 1 : -EBADMSG;
    }
    return 1;
}

int tar_next(struct tar_reader *reader, struct tar_member *member, struct failure *why)
{
    struct extra extra = {0};
    struct header header;
    bool found = false;
    int error;
    while (!found && (error = next_header(reader, &header)) > 0) {
        error = take_extra(reader, &header, &extra);
        if (error == 0)
            error = fill_member(&header, &extra, member);
        else if (error > 0)
            continue;
        if (error != 0)
            break;
        found = true;
        bool has_content = member->type == '0';
        reader->left = has_content ? member->size : 0;
        reader->padding = has_content ? -member->size % TAR_BLOCK : 0;
    }
    free_extra(&extra);
    if (!found && error < 0)
        return fail(why, error == -EBADMSG ? 0 : -error, "the tar stream is damaged");
    return found;
}

ssize_t tar_content(struct tar_reader *reader, void *buffer, size_t length)
{
    if (length > reader->left)
        length = (size_t)reader->left;
    ssize_t count = read_all(reader->fd, buffer, length);
    if (count < (ssize_t)length)
        return count < 0 ? count : -EBADMSG;
    reader->left -= (uint64_t)count;
    return count;
}

static void put_octal(char *field, size_t size, uint64_t value)
{
    snprintf(field, size, "%0*llo", (int)size - 1, (unsigned long long)value);
}

/* Adds "length key=value\n"; the length counts itself. */
static size_t put_record(char *out, const char *key, const char *value, size_t value_length)
{
    size_t body = strlen(key) + value_length + 3, length = body;
    char digits[24];
    while (length != body + (size_t)snprintf(digits, sizeof digits, "%zu", length))
        length = body + strlen(digits);
    char *at = out + sprintf(out, "%zu %s=", length, key);
    memcpy(at, value, value_length);
    at[value_length] = '\n';
    return length;
}

size_t tar_put_xattr(char *out, const char *name, const char *value, size_t size)
{
    char key[300];
    snprintf(key, sizeof key, "SCHILY.xattr.%s", name);
    return put_record(out, key, value, size);
}

/* The pax records that a member needs, in a block that the caller frees. */
static char *pax_records(const struct tar_member *member, size_t *length)
{
    char number[48];
    char *out = malloc(2 * TAR_PATH_MAX + member->xattr_size + 256);
    size_t at = 0;
    if (out == NULL)
        return NULL;
    if (strlen(member->path) > 99)
        at += put_record(out + at, "path", member->path, strlen(member->path));
    if (strlen(member->link) > 99)
        at += put_record(out + at, "linkpath", member->link, strlen(member->link));
    const struct {
        const char *key;
        uint64_t value, most;
    } numbers[] = {{"uid", member->uid, 07777777},
                   {"gid", member->gid, 07777777},
                   {"size", member->size, 077777777777}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value > numbers[i].most) {
            int size =
                snprintf(number, sizeof number, "%llu", (unsigned long long)numbers[i].value);
            at += put_record(out + at, numbers[i].key, number, (size_t)size);
        }
    if (member->mtime_ns > 0) {
        int size = snprintf(number, sizeof number, "%lld.%09u", (long long)member->mtime,
                            (unsigned)member->mtime_ns);
        at += put_record(out + at, "mtime", number, (size_t)size);
    }
    if (member->xattr_size > 0)
        memcpy(out + at, member->xattrs, member->xattr_size);
    *length = at + member->xattr_size;
    return out;
}

static void fill_header(struct header *header, const struct tar_member *member)
{
    memset(header, 0, sizeof *header);
    memcpy(header->name, member->path, strnlen(member->path, sizeof header->name));
    memcpy(header->link, member->link, strnlen(member->link, sizeof header->link));
    put_octal(header->mode, sizeof header->mode, member->mode & 07777);
    put_octal(header->uid, sizeof header->uid, member->uid & 07777777);
    put_octal(header->gid, sizeof header->gid, member->gid & 07777777);
    put_octal(header->size, sizeof header->size, member->size & 077777777777);
    int64_t mtime = member->mtime < 0 ? 0 : member->mtime;
    put_octal(header->mtime, sizeof header->mtime, (uint64_t)mtime & 077777777777);
    put_octal(header->major, sizeof header->major, member->major & 07777777);
    put_octal(header->minor, sizeof header->minor, member->minor & 07777777);
    header->type = member->type;
    memcpy(header->magic, "ustar", 6);
    memcpy(header->version, "00", 2);
    snprintf(header->checksum, sizeof header->checksum, "%06o", checksum_of(header));
    header->checksum[7] = ' ';
}

int tar_write_padding(int fd, uint64_t size)
{
    static const char zero[TAR_BLOCK];
    return write_all(fd, zero, -size % TAR_BLOCK);
}

int tar_write_end(int fd)
{
    static const char zero[2 * TAR_BLOCK];
    return write_all(fd, zero, sizeof zero);
}

int tar_write_member(int fd, const struct tar_member *member)
{
    struct header header;
    size_t length = 0;
    cleanup_free char *records = pax_records(member, &length);
    if (records == NULL)
        return -ENOMEM;
    int error = 0;
    if (length > 0) {
        struct tar_member extra = {.type = 'x', .mode = 0644, .size = length, .path = "PaxHeaders"};
        fill_header(&header, &extra);
        error = write_all(fd, &header, sizeof header);
        if (error == 0)
            error = write_all(fd, records, length);
        if (error == 0)
            error = tar_write_padding(fd, length);
    }
    fill_header(&header, member);
    return error != 0 ? error : write_all(fd, &header, sizeof header);
}
