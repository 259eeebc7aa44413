#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096U
#define WRITE_BLOCKS 16U

static size_t memory_of(const struct data *data, size_t blocks)
{
    return blocks * data->anonymous / 100;
}

/* Half of it is noise: what compresses memory shall find in it what it finds elsewhere. */
static void fill(unsigned char *bytes, size_t length, uint64_t seed)
{
    for (size_t i = 0; i + 8 <= length; i += 8) {
        uint64_t word = (i / 8) % 2 == 0 ? chance_next(&seed) : UINT64_C(0x2020202020202020);
        memcpy(bytes + i, &word, 8);
    }
}

static int write_all(int fd, const unsigned char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0)
            return -errno;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static int write_file(int fd, size_t blocks)
{
    const size_t length = (size_t)WRITE_BLOCKS * LOAD_BLOCK;
    int result = 0;
    unsigned char *bytes = malloc(length);
    if (bytes == NULL)
        return -ENOMEM;
    fill(bytes, length, 1);
    if (ftruncate(fd, 0) != 0)
        result = -errno;
    for (size_t done = 0; done < blocks && result == 0; done += WRITE_BLOCKS) {
        size_t now_blocks = blocks - done < WRITE_BLOCKS ? blocks - done : WRITE_BLOCKS;
        result = write_all(fd, bytes, now_blocks * LOAD_BLOCK);
    }
    free(bytes);
    return result;
}

static int open_file(struct data *data, const char *path)
{
    struct stat about;
    int result = 0;
    data->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (data->fd < 0 || fstat(data->fd, &about) != 0)
        return -errno;
    if ((uint64_t)about.st_size != (uint64_t)data->file_blocks * LOAD_BLOCK)
        result = write_file(data->fd, data->file_blocks);
    if (result == 0 && fsync(data->fd) != 0)
        result = -errno;
    /* No reading ahead: a request touches blocks here and there. */
    posix_fadvise(data->fd, 0, 0, POSIX_FADV_RANDOM);
    return result;
}

int data_prepare(struct data *data, const char *path, size_t blocks)
{
    data->fd = -1;
    data->memory = NULL;
    data->memory_blocks = data->given_back = memory_of(data, blocks);
    data->file_blocks = blocks - data->memory_blocks;
    if (data->memory_blocks > 0) {
        void *place = mmap(NULL, data->memory_blocks * LOAD_BLOCK, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (place == MAP_FAILED)
            return -errno;
        data->memory = place;
        /* Small pages, so that what is taken away and brought back is what was touched. */
        madvise(place, data->memory_blocks * LOAD_BLOCK, MADV_NOHUGEPAGE);
    }
    if (data->file_blocks == 0)
        return 0;
    return path == NULL ? -EINVAL : open_file(data, path);
}

static void touch_memory(unsigned char *block)
{
    for (size_t at = 0; at < LOAD_BLOCK; at += PAGE) {
        volatile unsigned char *page = block + at;
        if (page[PAGE - 1] == 0)
            fill(block + at, PAGE, (uintptr_t)page);
        page[0]++;
    }
}

static int read_block(int fd, size_t block, unsigned char *buffer)
{
    size_t done = 0;
    while (done < LOAD_BLOCK) {
        ssize_t got =
            pread(fd, buffer + done, LOAD_BLOCK - done, (off_t)(block * LOAD_BLOCK + done));
        if (got <= 0)
            return got == 0 ? -EIO : -errno;
        done += (size_t)got;
    }
    return 0;
}

static int touch(const struct data *data, size_t memory, size_t block, unsigned char *buffer)
{
    if (block >= memory)
        return read_block(data->fd, block - memory, buffer);
    touch_memory(data->memory + block * LOAD_BLOCK);
    return 0;
}

int data_touch(const struct data *data, size_t blocks, uint64_t choice, unsigned char *buffer)
{
    return blocks == 0 ? 0 : touch(data, memory_of(data, blocks), choice % blocks, buffer);
}

int data_warm(const struct data *data, size_t blocks, unsigned char *buffer)
{
    int result = 0;
    for (size_t block = 0; block < blocks && result == 0; block++)
        result = touch(data, memory_of(data, blocks), block, buffer);
    return result;
}

void data_shrink(struct data *data, size_t blocks)
{
    size_t wanted = memory_of(data, blocks);
    if (!data->give_back || data->memory == NULL)
        return;
    if (wanted < data->given_back)
        madvise(data->memory + wanted * LOAD_BLOCK, (data->given_back - wanted) * LOAD_BLOCK,
                MADV_DONTNEED);
    data->given_back = wanted;
}

int data_stream(const struct data *data, unsigned char *buffer, const bool *stop)
{
    int result = 0;
    for (size_t block = 0; block < data->file_blocks && result == 0; block++) {
        if (__atomic_load_n(stop, __ATOMIC_RELAXED))
            break;
        result = read_block(data->fd, block, buffer);
    }
    return result;
}

void data_close(struct data *data)
{
    if (data->memory != NULL)
        munmap(data->memory, data->memory_blocks * LOAD_BLOCK);
    if (data->fd >= 0)
        close(data->fd);
    data->memory = NULL;
    data->fd = -1;
}
