/* Between machine.c (programs) and link.c (the agent). */
#ifndef WIRT_MACHINE_H
#define WIRT_MACHINE_H

#include "keeper.h"

#define AUX_MAX 32
#define AUX_ARGUMENTS 64

struct machine {
    struct source link, console;
    struct wire_parser parser;
    struct wire_record record;
    struct buffer out; /* to the agent */
    bool greeted;
    uint32_t channels; /* numbers given away */
    pid_t qemu;
    pid_t aux[AUX_MAX];
    size_t aux_count;
    int console_log;
    size_t console_size;
    char broken[MESSAGE_MAX]; /* why the machine was killed, or empty */
};

/* Reads agent_config and adds the clock and a seed. */
int config_load(struct keeper *keeper, struct wire_record *config);
int link_open(struct keeper *keeper);
/* Gives the task a channel with its first credit. */
void link_channel(struct keeper *keeper, struct task *task);
/* Takes what is still in the socket after QEMU's end. */
void link_drain(struct keeper *keeper);
int link_exec(struct keeper *keeper, struct task *task, const struct wire_record *record);
int link_signal(struct keeper *keeper, struct task *task, int number);
int link_resize(struct keeper *keeper, struct task *task);
ssize_t link_input(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length);
void link_input_end(struct keeper *keeper, struct task *task);
void link_flow(struct keeper *keeper, struct task *task);

void machine_lost(struct keeper *keeper, const char *message, bool kill_now);
void machine_main_exited(struct keeper *keeper);

#endif
