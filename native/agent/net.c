#include "net.h"

#include "../wire/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

enum { CARD_WAIT_MS = 5000 };

static int parse_mac(const char *text, uint8_t out[6])
{
    unsigned byte[6];
    char rest;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", byte, byte + 1, byte + 2, byte + 3, byte + 4,
               byte + 5, &rest) != 6)
        return -EINVAL;
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)byte[i];
    return 0;
}

static int parse_address(char *text, struct card *card)
{
    char *slash = strchr(text, '/');
    if (slash == NULL)
        return -EINVAL;
    *slash = '\0';
    char *end;
    unsigned long prefix = strtoul(slash + 1, &end, 10);
    if (end == slash + 1 || *end != '\0' || prefix > 32)
        return -EINVAL;
    card->prefix = (unsigned)prefix;
    return inet_pton(AF_INET, text, &card->address) == 1 ? 0 : -EINVAL;
}

int parse_card(const char *text, struct card *card, struct failure *why)
{
    char copy[256], *rest = copy, *field[5];
    *card = (struct card){0};
    if (strlen(text) >= sizeof copy)
        return fail(why, EINVAL, "a network card's description is too long");
    strcpy(copy, text);
    for (int i = 0; i < 5; i++)
        if ((field[i] = strsep(&rest, "\037")) == NULL)
            field[i] = "";
    size_t length = strlen(field[0]);
    if (length == 0 || length >= sizeof card->name || strpbrk(field[0], "/ :%") != NULL)
        return fail(why, EINVAL, "the name of network card %s", field[0]);
    strcpy(card->name, field[0]);
    if (parse_address(field[1], card) != 0)
        return fail(why, EINVAL, "the address of network card %s", card->name);
    if (*field[2] != '\0' && inet_pton(AF_INET, field[2], &card->gateway) != 1)
        return fail(why, EINVAL, "the gateway of network card %s", card->name);
    if (parse_mac(field[3], card->mac) != 0)
        return fail(why, EINVAL, "the hardware address of network card %s", card->name);
    card->mtu = (unsigned)strtoul(field[4], NULL, 10);
    return 0;
}

static int request(int fd, unsigned long call, const char *name, struct ifreq *ask)
{
    snprintf(ask->ifr_name, sizeof ask->ifr_name, "%s", name);
    return ioctl(fd, call, ask) == 0 ? 0 : -errno;
}

static int set_up(int fd, const char *name, bool up)
{
    struct ifreq ask = {0};
    int error = request(fd, SIOCGIFFLAGS, name, &ask);
    if (error != 0)
        return error;
    ask.ifr_flags = (short)(up ? ask.ifr_flags | IFF_UP : ask.ifr_flags & ~IFF_UP);
    return request(fd, SIOCSIFFLAGS, name, &ask);
}

static int set_address(int fd, unsigned long call, const char *name, uint32_t address)
{
    struct ifreq ask = {0};
    struct sockaddr_in *where = (struct sockaddr_in *)&ask.ifr_addr;
    where->sin_family = AF_INET;
    where->sin_addr.s_addr = address;
    return request(fd, call, name, &ask);
}

static int add_default_route(int fd, const struct card *card)
{
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = (char *)card->name};
    struct sockaddr_in zero = {.sin_family = AF_INET}, gateway = zero;
    gateway.sin_addr.s_addr = card->gateway;
    memcpy(&route.rt_dst, &zero, sizeof zero);
    memcpy(&route.rt_genmask, &zero, sizeof zero);
    memcpy(&route.rt_gateway, &gateway, sizeof gateway);
    return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST ? 0 : -errno;
}

static bool find_card(int fd, const uint8_t mac[6], char name[IF_NAMESIZE])
{
    struct if_nameindex *all = if_nameindex();
    bool found = false;
    for (struct if_nameindex *at = all; at != NULL && at->if_index != 0 && !found; at++) {
        struct ifreq ask = {0};
        found = request(fd, SIOCGIFHWADDR, at->if_name, &ask) == 0 &&
                ask.ifr_hwaddr.sa_family == ARPHRD_ETHER &&
                memcmp(ask.ifr_hwaddr.sa_data, mac, 6) == 0;
        if (found)
            snprintf(name, IF_NAMESIZE, "%s", at->if_name);
    }
    if_freenameindex(all);
    return found;
}

static int wait_for_card(int fd, const struct card *card, char name[IF_NAMESIZE])
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int waited = 0; waited < CARD_WAIT_MS; waited++) {
        if (find_card(fd, card->mac, name))
            return 0;
        nanosleep(&pause, NULL);
    }
    return -ENODEV;
}

static int rename_card(int fd, const char *from, const char *to)
{
    struct ifreq ask = {0};
    if (strcmp(from, to) == 0)
        return 0;
    set_up(fd, from, false);
    snprintf(ask.ifr_newname, sizeof ask.ifr_newname, "%s", to);
    return request(fd, SIOCSIFNAME, from, &ask);
}

int configure_card(const struct card *card, struct failure *why)
{
    char name[IF_NAMESIZE];
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? -errno : wait_for_card(fd, card, name);
    if (error == 0)
        error = rename_card(fd, name, card->name);
    struct ifreq mtu = {.ifr_mtu = (int)card->mtu};
    if (error == 0 && card->mtu != 0)
        error = request(fd, SIOCSIFMTU, card->name, &mtu);
    if (error == 0)
        error = set_address(fd, SIOCSIFADDR, card->name, card->address);
    uint32_t mask = card->prefix == 0 ? 0 : htonl(~0u << (32 - card->prefix));
    if (error == 0)
        error = set_address(fd, SIOCSIFNETMASK, card->name, mask);
    if (error == 0 && card->prefix < 31)
        error = set_address(fd, SIOCSIFBRDADDR, card->name, card->address | ~mask);
    if (error == 0)
        error = set_up(fd, card->name, true);
    if (error == 0 && card->gateway != 0)
        error = add_default_route(fd, card);
    return error == 0 ? 0 : fail(why, -error, "network card %s", card->name);
}

/* Two cards may be about to swap their names. */
static int clear_names(const struct wire_record *config, struct failure *why)
{
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint32_t at = 0;
    unsigned number = 0;
    for (const char *text; (text = wire_each(config, "interface", &at)) != NULL; number++) {
        struct card card;
        char name[IF_NAMESIZE], spare[IF_NAMESIZE];
        int error = parse_card(text, &card, why);
        if (error != 0)
            return error;
        error = wait_for_card(fd, &card, name);
        snprintf(spare, sizeof spare, "spare%u", number);
        if (error == 0 && strcmp(name, card.name) != 0)
            error = rename_card(fd, name, spare);
        if (error != 0)
            return fail(why, -error, "network card %s", card.name);
    }
    return 0;
}

int loopback_up(struct failure *why)
{
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? -errno : set_up(fd, "lo", true);
    return error == 0 ? 0 : fail(why, -error, "the loopback interface");
}

int configure_cards(const struct wire_record *config, struct failure *why)
{
    int error = wire_count(config, "interface") > 1 ? clear_names(config, why) : 0;
    uint32_t at = 0;
    for (const char *text; error == 0 && (text = wire_each(config, "interface", &at)) != NULL;) {
        struct card card;
        error = parse_card(text, &card, why);
        if (error == 0)
            error = configure_card(&card, why);
    }
    return error;
}
