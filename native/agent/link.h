/* The byte stream to the keeper: frames in, and a queue of frames out. */
#ifndef WIRT_AGENT_LINK_H
#define WIRT_AGENT_LINK_H

#include "../wire/wire.h"

/* Beyond this many unsent bytes no more output of processes is read. */
#define LINK_BUSY (512u * 1024u)

struct link {
    int fd;    /* non-blocking */
    bool gone; /* the keeper closed it, broke the protocol, or memory ran out */
    struct wire_parser parser;
    uint8_t *queue;
    size_t start, end, capacity;
};

/* Queues a frame. */
void link_frame(struct link *link, uint8_t type, uint8_t flags, uint32_t channel,
                const void *payload, uint32_t length);

/* Queues a record as frames and frees it. */
void link_record(struct link *link, uint8_t type, uint32_t channel, struct wire_record *record);

/* Queues bytes that are whole frames already. */
void link_bytes(struct link *link, const void *bytes, size_t length);

/* How many bytes wait to be sent. */
size_t link_pending(const struct link *link);

/* Sends what can be sent without waiting. */
void link_flush(struct link *link);

/* Sends everything and waits until the other side has taken it. */
void link_finish(struct link *link);

/* Reads what is there; frames are then taken with wire_parser_next(). */
void link_receive(struct link *link);

#endif
