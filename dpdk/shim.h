/* The part of DPDK that only C can say: inline functions, macros, and structs whose layout moves between
 * releases. Frames cross this line by the burst; everything else here is called at start-up or now and then.
 * Every function that can fail answers 0 or a negative errno. */
#ifndef PORTCULLIS_SHIM_H
#define PORTCULLIS_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_telemetry.h>
#include <rte_version.h>

/* Where the fields of rte_mbuf that Rust reads per frame lie in this release. */
enum shim_mbuf {
	SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	SHIM_MBUF_VLAN_TCI_OUTER = offsetof(struct rte_mbuf, vlan_tci_outer),
	SHIM_MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM,
	SHIM_MBUF_STRUCT_BYTES = sizeof(struct rte_mbuf),
};

/* What a driver says it has taken off a frame. */
enum shim_stripped {
	SHIM_STRIPPED_TAG = RTE_MBUF_F_RX_VLAN_STRIPPED,
	SHIM_STRIPPED_OUTER_TAG = RTE_MBUF_F_RX_QINQ_STRIPPED,
};

/* Limits of this build of DPDK. */
enum shim_limit {
	SHIM_PORTS_MAX = RTE_MAX_ETHPORTS,
	SHIM_LCORES_MAX = RTE_MAX_LCORE,
	SHIM_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	SHIM_NAME_BYTES = 64,
};

/* The release that this was compiled for: structs and inline functions are its own. */
enum shim_release {
	SHIM_RELEASE_YEAR = RTE_VER_YEAR,
	SHIM_RELEASE_MONTH = RTE_VER_MONTH,
};

/* A device as it describes itself; names are cut to fit and NUL-terminated. */
struct shim_port_info {
	char name[SHIM_NAME_BYTES];
	char driver[SHIM_NAME_BYTES];
	uint8_t mac[6];
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t mtu;
	int32_t numa_socket;
};

/* Which call a port's configuration failed in. */
enum shim_step {
	SHIM_STEP_INFO,
	SHIM_STEP_CONFIGURE,
	SHIM_STEP_DESCRIPTORS,
	SHIM_STEP_RX_QUEUE,
	SHIM_STEP_TX_QUEUE,
};

/* What a port could not be given: bits of `shim_port_setup.lacks`. */
enum shim_lack {
	SHIM_LACKS_RSS = 1,
	SHIM_LACKS_SCATTER = 2,
	SHIM_LACKS_MULTI_SEGS = 4,
	SHIM_LACKS_RING_SIZES = 8, /* the driver does not say what it made of the descriptors */
};

/* Traffic that a receive hash does not spread over the queues: bits of `uncovered`. */
enum shim_traffic {
	SHIM_TRAFFIC_TCP_IPV4 = 1,
	SHIM_TRAFFIC_UDP_IPV4 = 2,
	SHIM_TRAFFIC_TCP_IPV6 = 4,
	SHIM_TRAFFIC_UDP_IPV6 = 8,
};

/* A port's configuration: the first five are asked for and overwritten with what was had. */
struct shim_port_setup {
	uint16_t queues;
	uint16_t mtu;
	uint16_t tag_room; /* bytes beyond the MTU, for VLAN tags */
	uint16_t rx_descriptors;
	uint16_t tx_descriptors;
	enum shim_step step;
	uint32_t lacks;
};

/* What a started port would not do: 0, or the negative errno of the refusal. */
struct shim_port_refusals {
	int promiscuous;
	int allmulticast;
	int flow_control_off;
	int vlan_off;
	uint32_t uncovered; /* with several queues: bits of `shim_traffic` */
};

/* A port's counters since it was started. */
struct shim_stats {
	uint64_t rx_frames, tx_frames, rx_bytes, tx_bytes;
	uint64_t rx_missed, rx_errors, rx_no_mbuf, tx_errors;
	uint64_t rx_tags_restored; /* VLAN tags that the device had taken off and the shim has put back */
	uint64_t rx_tags_lost;     /* frames freed because that could not be done */
};

/* One of the counters that a driver keeps beyond those; their names are its own. */
struct shim_xstat {
	char name[SHIM_NAME_BYTES];
	uint64_t value;
};

/* A port's link as last seen; speed 0 is "not known". */
struct shim_link {
	uint32_t speed_mbps;
	uint8_t up;
	uint8_t full_duplex;
};

/*
 * Runs rte_eal_init with stdout turned to stderr meanwhile; answers its result, or minus rte_errno. Should DPDK end the
 * process in there, as newer releases do for an option they do not know, `ended` has the last word: it is told the status
 * that DPDK chose and answers the one to end with.
 */
int shim_eal_init(int argc, char **argv, int (*ended)(int status));

/* Lets the calling thread run where the process might before EAL pinned it, worker lcores' CPUs excepted. */
int shim_thread_unpin(void);

/* Sends DPDK's log, one message at a time, to `sink` instead of stderr and syslog. */
int shim_log_route(void (*sink)(uint32_t level, const char *text, size_t bytes));

/* The calling thread's rte_errno. */
int shim_errno(void);

/* The calling thread's lcore, or UINT32_MAX when it is not EAL's. */
uint32_t shim_lcore_id(void);

/* How the packet buffers of a pool lie in memory. */
enum shim_layout {
	SHIM_LAYOUT_DMA,    /* each within one page, so that a device can reach it */
	SHIM_LAYOUT_PACKED, /* one behind the other, over page borders: for the CPU alone */
};

/* A new packet pool on any NUMA socket, or NULL and rte_errno. */
struct rte_mempool *shim_pool_create(const char *name, uint32_t mbufs, uint32_t cache, uint16_t data_room,
				     enum shim_layout layout);

/* Bytes of memory a packet pool of this shape takes, bookkeeping and unusable rests of pages included. */
uint64_t shim_pool_bytes(uint32_t mbufs, uint16_t data_room, enum shim_layout layout);

/* A new mbuf chain holding a copy of `bytes`, or NULL when the pool has not enough mbufs. */
struct rte_mbuf *shim_frame_copy(struct rte_mempool *pool, const uint8_t *bytes, uint32_t length);

/* Gives a frame another length, zeros behind what it had; where it begins. NULL, and nothing done, if it is chained, somebody
 * else's too, or has no room. */
uint8_t *shim_frame_resize(struct rte_mbuf *frame, uint16_t length);

/* Fills `info` from the device. */
int shim_port_info(uint16_t port, struct shim_port_info *info);

/* The hash functions to ask of a device that offers these (`RTE_ETH_RSS_*`), so that its queues share all traffic. */
uint64_t shim_rss_wanted(uint64_t offered);

/* The traffic (`shim_traffic`) that these hash functions leave on one queue. */
uint32_t shim_rss_uncovered(uint64_t functions);

/* Configures the port and its queues with every offload off that would change a frame. */
int shim_port_configure(uint16_t port, struct rte_mempool *pool, struct shim_port_setup *setup);

/* Asks a started port to hear everything, to answer no pause frames and to leave VLAN tags alone. */
void shim_port_open_ears(uint16_t port, struct shim_port_refusals *refusals);

/* Reads the port's counters. */
int shim_port_stats(uint16_t port, struct shim_stats *stats);

/* Reads the driver's own counters, `room` of them at most; answers how many there are. */
int shim_port_xstats(uint16_t port, struct shim_xstat *into, uint32_t room);

/* Reads the port's link without waiting for it to settle. */
int shim_port_link(uint16_t port, struct shim_link *link);

/*
 * Receives up to `room` frames into `slots`, prefetches the first line of each frame's bytes, clears offload requests
 * left in them, and puts VLAN tags back that the device has taken off.
 */
uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **slots, uint16_t room);

/* What `shim_rx_burst` does to the rare frames that do not come as they were on the wire; answers how many are left. */
uint16_t shim_rx_mend(uint16_t port, struct rte_mbuf **slots, uint16_t count);

/* Offers the frames, in which no offload is requested; answers how many the queue took. */
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **slots, uint16_t count);

/* ---- Telemetry: an answer is an object of numbers and texts, or a list of texts. What is cut off is no error. ---- */

int shim_telemetry_object(struct rte_tel_data *answer);
int shim_telemetry_number(struct rte_tel_data *object, const char *name, uint64_t value);
int shim_telemetry_text(struct rte_tel_data *object, const char *name, const char *value);
int shim_telemetry_list(struct rte_tel_data *answer);
int shim_telemetry_line(struct rte_tel_data *list, const char *value);

#endif
