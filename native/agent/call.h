/* Bodies of calls that have a file of their own. */
#ifndef WIRT_AGENT_CALL_H
#define WIRT_AGENT_CALL_H

#include "child.h"

/*
 * RESULT of `stats`: cpu_user_ns, cpu_system_ns, memory, memory_cache, memory_limit, pids,
 * block_read, block_written, net_received, net_sent; bytes and nanoseconds since the boot.
 */
void call_stats(const struct order *order);

/*
 * RESULT of `processes`: `title=` for each column and `row=` for each process, its fields separated
 * by US. Kernel threads and the agent are left out.
 */
void call_processes(const struct order *order);

/* Takes the next connection to a socket that the machine was given, says so by one byte, and
 * carries its bytes between the channel and it. */
void call_accept(const struct order *order);

#endif
