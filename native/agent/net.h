/* Network cards: found by their hardware address, named, addressed, switched on. */
#ifndef WIRT_AGENT_NET_H
#define WIRT_AGENT_NET_H

#include "../wire/wire.h"
#include "failure.h"

struct card {
    char name[16];
    uint32_t address; /* IPv4, network order */
    unsigned prefix;
    uint32_t gateway; /* 0: no default route */
    uint8_t mac[6];
    unsigned mtu;
};

/* Parses `name US address/prefix US gateway US mac US mtu`; the last three may be empty. */
int parse_card(const char *text, struct card *card, struct failure *why);

/* Switches the loopback interface on. */
int loopback_up(struct failure *why);

/* Configures every `interface` entry. A card that is not there within 5 s is an error. */
int configure_cards(const struct wire_record *config, struct failure *why);

/* Configures one card. */
int configure_card(const struct card *card, struct failure *why);

#endif
