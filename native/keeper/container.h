/* Between container.c (engine runs) and stdio.c (streams). */
#ifndef WIRT_CONTAINER_H
#define WIRT_CONTAINER_H

#include "keeper.h"

void stdio_output_ready(struct keeper *keeper, struct source *source, uint32_t events);
void stdio_input_ready(struct keeper *keeper, struct source *source, uint32_t events);
/* Watches what the task's state allows. */
void stdio_watch(struct keeper *keeper, struct task *task);
void stdio_flow(struct keeper *keeper, struct task *task);
bool stdio_ended(const struct task *task);
/* Reads all that an ended process wrote. */
void stdio_read_rest(struct keeper *keeper, struct task *task);
ssize_t stdio_input(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length);
void stdio_input_end(struct keeper *keeper, struct task *task);

#endif
