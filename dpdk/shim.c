/* See shim.h. */
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_mbuf_pool_ops.h>
#include <rte_prefetch.h>

/* ---- EAL ---- */

/* Where the process might run before EAL pinned its first thread. */
static cpu_set_t cpus_at_start;

/* Who is told if the process ends inside rte_eal_init; NULL outside of it. */
static int (*ended_inside)(int status);

static void at_exit(int status, void *unused)
{
	RTE_SET_USED(unused);
	if (ended_inside == NULL)
		return;
	fflush(NULL);
	_exit(ended_inside(status));
}

int shim_eal_init(int argc, char **argv, int (*ended)(int status))
{
	int saved, ret;

	if (pthread_getaffinity_np(pthread_self(), sizeof(cpus_at_start), &cpus_at_start) != 0)
		CPU_ZERO(&cpus_at_start);

	/* EAL prints its usage on stdout when an argument is wrong; our stdout may be read by a program. */
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	if (saved >= 0)
		dup2(STDERR_FILENO, STDOUT_FILENO);

	/* Without the guard the process would still end, only without our words. */
	if (on_exit(at_exit, NULL) == 0)
		ended_inside = ended;
	ret = rte_eal_init(argc, argv);
	ended_inside = NULL;
	if (ret < 0)
		ret = rte_errno > 0 ? -rte_errno : -EINVAL;

	fflush(stdout);
	if (saved >= 0) {
		dup2(saved, STDOUT_FILENO);
		close(saved);
	}
	return ret;
}

int shim_thread_unpin(void)
{
	cpu_set_t cpus = cpus_at_start;
	unsigned int lcore;

	RTE_LCORE_FOREACH_WORKER(lcore) {
		cpu_set_t worker = rte_lcore_cpuset(lcore);
		cpu_set_t both;

		CPU_AND(&both, &cpus, &worker);
		CPU_XOR(&cpus, &cpus, &both);
	}
	/* No CPU is free of workers: EAL's own control threads then share the main lcore's, and so do ours. */
	if (CPU_COUNT(&cpus) == 0)
		cpus = rte_lcore_cpuset(rte_get_main_lcore());
	return -pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}

static void (*log_sink)(uint32_t level, const char *text, size_t bytes);

static ssize_t log_write(void *cookie, const char *text, size_t bytes)
{
	RTE_SET_USED(cookie);
	log_sink((uint32_t)rte_log_cur_msg_loglevel(), text, bytes);
	return (ssize_t)bytes;
}

int shim_log_route(void (*sink)(uint32_t level, const char *text, size_t bytes))
{
	static const cookie_io_functions_t functions = { .write = log_write };
	FILE *stream;

	log_sink = sink;
	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -errno;
	return rte_openlog_stream(stream) < 0 ? -EINVAL : 0;
}

int shim_errno(void)
{
	return rte_errno;
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id(); /* LCORE_ID_ANY is UINT32_MAX */
}

/* ---- Memory ---- */

struct rte_mempool *shim_pool_create(const char *name, uint32_t mbufs, uint32_t cache, uint16_t data_room,
				     enum shim_layout layout)
{
	struct rte_pktmbuf_pool_private shape;
	struct rte_mempool *pool;
	int ret;

	/* On huge pages there is nothing to gain: buffers lie close together as it is. */
	if (layout == SHIM_LAYOUT_DMA || rte_eal_has_hugepages())
		return rte_pktmbuf_pool_create(name, mbufs, cache, 0, data_room, SOCKET_ID_ANY);

	/* The same step by step, since only an empty pool can be told that its buffers may straddle pages. */
	memset(&shape, 0, sizeof(shape));
	shape.mbuf_data_room_size = data_room;
	pool = rte_mempool_create_empty(name, mbufs, (uint32_t)sizeof(struct rte_mbuf) + data_room, cache, sizeof(shape),
					SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	if (pool == NULL)
		return NULL;
	ret = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (ret == 0) {
		rte_pktmbuf_pool_init(pool, &shape);
		ret = rte_mempool_populate_default(pool);
	}
	if (ret < 0) {
		rte_mempool_free(pool);
		rte_errno = -ret;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

uint64_t shim_pool_bytes(uint32_t mbufs, uint16_t data_room, enum shim_layout layout)
{
	uint64_t element = rte_mempool_calc_obj_size((uint32_t)sizeof(struct rte_mbuf) + data_room, 0, NULL);
	uint64_t page = (uint64_t)getpagesize();

	/* Without hugepages no mbuf may cross a small page, so a usual one takes a page to itself. */
	if (rte_eal_has_hugepages() || layout == SHIM_LAYOUT_PACKED)
		return mbufs * element;
	if (element > page)
		return mbufs * RTE_ALIGN_CEIL(element, page);
	return (mbufs + page / element - 1) / (page / element) * page;
}

struct rte_mbuf *shim_frame_copy(struct rte_mempool *pool, const uint8_t *bytes, uint32_t length)
{
	struct rte_mbuf *head = NULL, *last = NULL;
	uint32_t done = 0;

	do {
		struct rte_mbuf *segment = rte_pktmbuf_alloc(pool);
		uint16_t part;

		if (segment == NULL || (head != NULL && head->nb_segs == RTE_MBUF_MAX_NB_SEGS)) {
			rte_pktmbuf_free(segment);
			rte_pktmbuf_free(head);
			return NULL;
		}
		part = (uint16_t)RTE_MIN(length - done, (uint32_t)rte_pktmbuf_tailroom(segment));
		if (part == 0 && length != 0) { /* a pool without data room would never get us further */
			rte_pktmbuf_free(segment);
			rte_pktmbuf_free(head);
			return NULL;
		}
		if (part != 0)
			memcpy(rte_pktmbuf_mtod(segment, void *), bytes + done, part);
		segment->data_len = part;
		done += part;
		if (head == NULL) {
			head = segment;
			head->pkt_len = length;
		} else {
			last->next = segment;
			head->nb_segs++;
		}
		last = segment;
	} while (done < length);
	return head;
}

uint8_t *shim_frame_resize(struct rte_mbuf *frame, uint16_t length)
{
	if (frame->nb_segs != 1 || !RTE_MBUF_DIRECT(frame) || rte_mbuf_refcnt_read(frame) != 1 ||
	    length > frame->buf_len - frame->data_off)
		return NULL;
	if (length > frame->data_len)
		memset(rte_pktmbuf_mtod_offset(frame, uint8_t *, frame->data_len), 0, length - frame->data_len);
	frame->data_len = length;
	frame->pkt_len = length;
	return rte_pktmbuf_mtod(frame, uint8_t *);
}

/* ---- Ports: set-up and upkeep ---- */

int shim_port_info(uint16_t port, struct shim_port_info *info)
{
	struct rte_eth_dev_info device;
	struct rte_ether_addr mac;
	char name[RTE_ETH_NAME_MAX_LEN] = "";
	int ret;

	memset(info, 0, sizeof(*info));
	ret = rte_eth_dev_info_get(port, &device);
	if (ret < 0)
		return ret;
	ret = rte_eth_dev_get_name_by_port(port, name);
	if (ret < 0)
		return ret;
	snprintf(info->name, sizeof(info->name), "%s", name);
	snprintf(info->driver, sizeof(info->driver), "%s", device.driver_name != NULL ? device.driver_name : "");
	if (rte_eth_macaddr_get(port, &mac) == 0)
		memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	info->max_rx_queues = device.max_rx_queues;
	info->max_tx_queues = device.max_tx_queues;
	info->numa_socket = rte_eth_dev_socket_id(port);
	return rte_eth_dev_get_mtu(port, &info->mtu);
}

uint64_t shim_rss_wanted(uint64_t offered)
{
	return offered & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP);
}

uint32_t shim_rss_uncovered(uint64_t functions)
{
	/* Over addresses alone covers whatever lies above them, unless a device names each protocol by itself. */
	static const struct {
		uint64_t functions;
		uint32_t traffic;
	} covers[] = {
		{ RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP, SHIM_TRAFFIC_TCP_IPV4 },
		{ RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_UDP, SHIM_TRAFFIC_UDP_IPV4 },
		{ RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP, SHIM_TRAFFIC_TCP_IPV6 },
		{ RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_UDP, SHIM_TRAFFIC_UDP_IPV6 },
	};
	uint32_t uncovered = 0;
	size_t i;

	for (i = 0; i < RTE_DIM(covers); i++)
		if ((functions & covers[i].functions) == 0)
			uncovered |= covers[i].traffic;
	return uncovered;
}

/* What came of the tags that a device has taken off, by port. */
static uint64_t tags_restored[RTE_MAX_ETHPORTS], tags_lost[RTE_MAX_ETHPORTS];

/* What a driver made of the descriptors that were asked for; 0 if it tells. */
static int read_ring_sizes(uint16_t port, struct shim_port_setup *setup)
{
	struct rte_eth_rxq_info rx;
	struct rte_eth_txq_info tx;

	if (rte_eth_rx_queue_info_get(port, 0, &rx) != 0 || rte_eth_tx_queue_info_get(port, 0, &tx) != 0)
		return -ENOTSUP;
	if (rx.nb_desc != 0)
		setup->rx_descriptors = rx.nb_desc;
	if (tx.nb_desc != 0)
		setup->tx_descriptors = tx.nb_desc;
	return 0;
}

/*
 * An MTU is what lies behind the Ethernet header. Whether tags count as part of it is each driver's affair: some add room
 * for one, some for two, some for none, and what they answer about themselves does not tell. So the room is asked for on
 * top, and taken back tag by tag where a device does not have it. This is the most that is worth asking for.
 */
static uint16_t tag_room_at_most(const struct rte_eth_dev_info *device, uint16_t mtu, uint16_t tag_room)
{
	uint16_t max = device->max_mtu != 0 ? device->max_mtu : UINT16_MAX;

	return mtu >= max ? 0 : RTE_MIN(tag_room, (uint16_t)(max - mtu));
}

static uint16_t one_tag_less(uint16_t tag_room)
{
	return tag_room - RTE_MIN(tag_room, (uint16_t)sizeof(struct rte_vlan_hdr));
}

int shim_port_configure(uint16_t port, struct rte_mempool *pool, struct shim_port_setup *setup)
{
	struct rte_eth_conf conf;
	struct rte_eth_dev_info device;
	struct rte_eth_rxconf rx;
	struct rte_eth_txconf tx;
	unsigned int socket;
	uint16_t queue, room, mtu, asked_mtu = setup->mtu;
	int ret, socket_id;

	memset(&conf, 0, sizeof(conf)); /* no offloads, no link or queue interrupts */
	setup->lacks = 0;
	__atomic_store_n(&tags_restored[port], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&tags_lost[port], 0, __ATOMIC_RELAXED);
	setup->step = SHIM_STEP_INFO;
	ret = rte_eth_dev_info_get(port, &device);
	if (ret < 0)
		return ret;

	if (device.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER)
		conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SCATTER;
	else
		setup->lacks |= SHIM_LACKS_SCATTER;
	if (device.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
		conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	else
		setup->lacks |= SHIM_LACKS_MULTI_SEGS;
	if (setup->queues > 1) {
		conf.rx_adv_conf.rss_conf.rss_hf = shim_rss_wanted(device.flow_type_rss_offloads);
		if (conf.rx_adv_conf.rss_conf.rss_hf != 0)
			conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		else
			setup->lacks |= SHIM_LACKS_RSS;
	}
	setup->step = SHIM_STEP_CONFIGURE;
	for (room = tag_room_at_most(&device, asked_mtu, setup->tag_room);; room = one_tag_less(room)) {
		conf.rxmode.mtu = RTE_MAX(asked_mtu + room, (int)device.min_mtu);
		if (device.max_mtu != 0)
			conf.rxmode.mtu = RTE_MIN(conf.rxmode.mtu, (uint32_t)device.max_mtu);
		ret = rte_eth_dev_configure(port, setup->queues, setup->queues, &conf);
		if (ret == 0 || room == 0)
			break;
	}
	if (ret < 0 && conf.rxmode.mtu != RTE_ETHER_MTU) {
		conf.rxmode.mtu = RTE_ETHER_MTU; /* an MTU is never worth a dead port */
		ret = rte_eth_dev_configure(port, setup->queues, setup->queues, &conf);
	}
	if (ret < 0)
		return ret;

	setup->step = SHIM_STEP_DESCRIPTORS;
	ret = rte_eth_dev_adjust_nb_rx_tx_desc(port, &setup->rx_descriptors, &setup->tx_descriptors);
	if (ret < 0)
		return ret;

	/* Read again: a driver may fit its default thresholds to the configuration. */
	ret = rte_eth_dev_info_get(port, &device);
	if (ret < 0)
		return ret;
	rx = device.default_rxconf;
	rx.offloads = conf.rxmode.offloads;
	tx = device.default_txconf;
	tx.offloads = conf.txmode.offloads;
	socket_id = rte_eth_dev_socket_id(port);
	socket = socket_id < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)socket_id;
	for (queue = 0; queue < setup->queues; queue++) {
		setup->step = SHIM_STEP_RX_QUEUE;
		ret = rte_eth_rx_queue_setup(port, queue, setup->rx_descriptors, socket, &rx, pool);
		if (ret < 0)
			return ret;
		setup->step = SHIM_STEP_TX_QUEUE;
		ret = rte_eth_tx_queue_setup(port, queue, setup->tx_descriptors, socket, &tx);
		if (ret < 0)
			return ret;
	}

	if (read_ring_sizes(port, setup) != 0)
		setup->lacks |= SHIM_LACKS_RING_SIZES;

	/* What came of it is read back and reported. */
	room = tag_room_at_most(&device, asked_mtu, setup->tag_room);
	while (rte_eth_dev_set_mtu(port, asked_mtu + room) != 0 && room != 0)
		room = one_tag_less(room);
	mtu = 0;
	rte_eth_dev_get_mtu(port, &mtu);
	setup->tag_room = mtu > asked_mtu ? RTE_MIN(setup->tag_room, (uint16_t)(mtu - asked_mtu)) : 0;
	setup->mtu = mtu - setup->tag_room;
	return 0;
}

void shim_port_open_ears(uint16_t port, struct shim_port_refusals *refusals)
{
	struct rte_eth_fc_conf flow_control;
	struct rte_eth_dev_info device;
	int vlan;

	memset(refusals, 0, sizeof(*refusals));
	refusals->promiscuous = rte_eth_promiscuous_enable(port);
	refusals->allmulticast = rte_eth_allmulticast_enable(port);

	memset(&flow_control, 0, sizeof(flow_control));
	if (rte_eth_dev_flow_ctrl_get(port, &flow_control) == 0 && flow_control.mode != RTE_ETH_FC_NONE) {
		flow_control.mode = RTE_ETH_FC_NONE;
		refusals->flow_control_off = rte_eth_dev_flow_ctrl_set(port, &flow_control);
	}
	/*
	 * This answers what the device was configured with, by us or by its driver, not what it does: a host may strip tags
	 * from a virtual function that knows nothing of it. What frames say of themselves is looked at in `shim_rx_burst`.
	 */
	vlan = rte_eth_dev_get_vlan_offload(port);
	if (vlan > 0)
		refusals->vlan_off = rte_eth_dev_set_vlan_offload(port, 0);

	if (rte_eth_dev_info_get(port, &device) == 0 && device.nb_rx_queues > 1) {
		struct rte_eth_rss_conf rss = { 0 };

		/* What is in force, or where the driver does not say, what was asked for. */
		if (rte_eth_dev_rss_hash_conf_get(port, &rss) != 0)
			rss.rss_hf = shim_rss_wanted(device.flow_type_rss_offloads);
		refusals->uncovered = shim_rss_uncovered(rss.rss_hf);
	}
}

int shim_port_stats(uint16_t port, struct shim_stats *stats)
{
	struct rte_eth_stats from;
	int ret;

	memset(&from, 0, sizeof(from));
	ret = rte_eth_stats_get(port, &from);
	if (ret < 0)
		return ret;
	stats->rx_frames = from.ipackets;
	stats->tx_frames = from.opackets;
	stats->rx_bytes = from.ibytes;
	stats->tx_bytes = from.obytes;
	stats->rx_missed = from.imissed;
	stats->rx_errors = from.ierrors;
	stats->rx_no_mbuf = from.rx_nombuf;
	stats->tx_errors = from.oerrors;
	stats->rx_tags_restored = __atomic_load_n(&tags_restored[port], __ATOMIC_RELAXED);
	stats->rx_tags_lost = __atomic_load_n(&tags_lost[port], __ATOMIC_RELAXED);
	return 0;
}

int shim_port_xstats(uint16_t port, struct shim_xstat *into, uint32_t room)
{
	int named = rte_eth_xstats_get_names(port, NULL, 0);
	struct rte_eth_xstat_name *names;
	struct rte_eth_xstat *values;
	int i, read = -ENOMEM;

	if (named <= 0 || room == 0)
		return named;
	names = calloc(named, sizeof(*names));
	values = calloc(named, sizeof(*values));
	if (names != NULL && values != NULL && rte_eth_xstats_get_names(port, names, named) == named) {
		read = rte_eth_xstats_get(port, values, named);
		for (i = 0; i < RTE_MIN(RTE_MIN(read, named), (int)room); i++) {
			if (values[i].id < (uint64_t)named)
				snprintf(into[i].name, sizeof(into[i].name), "%s", names[values[i].id].name);
			into[i].value = values[i].value;
		}
	}
	free(names);
	free(values);
	return read;
}

int shim_port_link(uint16_t port, struct shim_link *link)
{
	struct rte_eth_link from;
	int ret;

	memset(&from, 0, sizeof(from));
	ret = rte_eth_link_get_nowait(port, &from);
	if (ret < 0)
		return ret;
	link->speed_mbps = from.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : from.link_speed;
	link->up = from.link_status == RTE_ETH_LINK_UP;
	link->full_duplex = from.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

/* ---- Bursts ---- */

#define STRIPPED (RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_QINQ_STRIPPED)

/* Puts a tag in front of a frame's type; false if the frame cannot be changed or has no room. */
static int push_tag(struct rte_mbuf *frame, uint16_t type, uint16_t tci)
{
	const size_t addresses = 2 * RTE_ETHER_ADDR_LEN;
	const uint16_t tag[2] = { rte_cpu_to_be_16(type), rte_cpu_to_be_16(tci) };
	char *start;

	if (!RTE_MBUF_DIRECT(frame) || rte_mbuf_refcnt_read(frame) != 1 || frame->data_len < addresses)
		return 0;
	start = rte_pktmbuf_prepend(frame, sizeof(tag));
	if (start == NULL)
		return 0;
	memmove(start, start + sizeof(tag), addresses);
	memcpy(start + addresses, tag, sizeof(tag));
	return 1;
}

/* Makes a frame what it was on the wire, as far as the device says what that was; false if it cannot be done. */
static int push_stripped_tags(struct rte_mbuf *frame)
{
	/* The outer tag's type is not told: it is the one that devices look for. */
	if ((frame->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) && !push_tag(frame, RTE_ETHER_TYPE_VLAN, frame->vlan_tci))
		return 0;
	if ((frame->ol_flags & RTE_MBUF_F_RX_QINQ_STRIPPED) &&
	    !push_tag(frame, RTE_ETHER_TYPE_QINQ, frame->vlan_tci_outer))
		return 0;
	return 1;
}

uint16_t shim_rx_mend(uint16_t port, struct rte_mbuf **slots, uint16_t count)
{
	uint64_t restored = 0;
	uint16_t i, left = 0;

	for (i = 0; i < count; i++) {
		struct rte_mbuf *frame = slots[i];

		if (frame->ol_flags & STRIPPED) {
			/* In the scope of another VLAN it might be judged by another VM's rights, so never without its tag. */
			if (!push_stripped_tags(frame)) {
				rte_pktmbuf_free(frame);
				continue;
			}
			restored++;
		}
		/* A peer's driver (virtio, vhost, a ring) may have left requests that would rewrite bytes when it is sent. */
		frame->ol_flags &= ~(RTE_MBUF_F_TX_OFFLOAD_MASK | STRIPPED);
		slots[left++] = frame;
	}
	__atomic_fetch_add(&tags_restored[port], restored, __ATOMIC_RELAXED);
	__atomic_fetch_add(&tags_lost[port], count - left, __ATOMIC_RELAXED);
	return left;
}

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **slots, uint16_t room)
{
	uint16_t count = rte_eth_rx_burst(port, queue, slots, room);
	uint64_t flags = 0;
	uint16_t i;

	/* Unrolled, so that the CPU need not guess where a loop of up to 64 ends. */
#pragma GCC unroll 8
	for (i = 0; i < count; i++) {
		/* Where the bytes nearly always begin; to read where would cost as much as it saves. */
		rte_prefetch0((const char *)slots[i] + sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM);
		flags |= slots[i]->ol_flags;
	}
	if (unlikely(flags & (RTE_MBUF_F_TX_OFFLOAD_MASK | STRIPPED)))
		return shim_rx_mend(port, slots, count);
	return count;
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **slots, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, slots, count);
}

/* ---- Telemetry ---- */

int shim_telemetry_object(struct rte_tel_data *answer)
{
	return rte_tel_data_start_dict(answer);
}

int shim_telemetry_number(struct rte_tel_data *object, const char *name, uint64_t value)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	return rte_tel_data_add_dict_uint(object, name, value);
#else
	return rte_tel_data_add_dict_u64(object, name, value);
#endif
}

int shim_telemetry_text(struct rte_tel_data *object, const char *name, const char *value)
{
	return rte_tel_data_add_dict_string(object, name, value);
}

int shim_telemetry_list(struct rte_tel_data *answer)
{
	return rte_tel_data_start_array(answer, RTE_TEL_STRING_VAL);
}

int shim_telemetry_line(struct rte_tel_data *list, const char *value)
{
	return rte_tel_data_add_array_string(list, value);
}
