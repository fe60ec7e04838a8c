/* See shim.h. */
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_mbuf_pool_ops.h>
#include <rte_prefetch.h>

/* ---- EAL ---- */

/* Where the process might run before EAL pinned its first thread. */
static cpu_set_t cpus_at_start;

int shim_eal_init(int argc, char **argv)
{
	int saved, ret;

	if (pthread_getaffinity_np(pthread_self(), sizeof(cpus_at_start), &cpus_at_start) != 0)
		CPU_ZERO(&cpus_at_start);

	/* EAL prints its usage on stdout when an argument is wrong; our stdout may be read by a program. */
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	if (saved >= 0)
		dup2(STDERR_FILENO, STDOUT_FILENO);

	ret = rte_eal_init(argc, argv);
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

int shim_port_configure(uint16_t port, struct rte_mempool *pool, struct shim_port_setup *setup)
{
	struct rte_eth_conf conf;
	struct rte_eth_dev_info device;
	struct rte_eth_rxconf rx;
	struct rte_eth_txconf tx;
	unsigned int socket;
	uint16_t queue, asked_mtu = setup->mtu;
	int ret, socket_id;

	memset(&conf, 0, sizeof(conf)); /* no offloads, no link or queue interrupts */
	setup->lacks = 0;
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
		conf.rx_adv_conf.rss_conf.rss_hf = RTE_ETH_RSS_IP & device.flow_type_rss_offloads;
		if (conf.rx_adv_conf.rss_conf.rss_hf != 0)
			conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		else
			setup->lacks |= SHIM_LACKS_RSS;
	}
	conf.rxmode.mtu = RTE_MAX(asked_mtu, device.min_mtu);
	if (device.max_mtu != 0)
		conf.rxmode.mtu = RTE_MIN(conf.rxmode.mtu, (uint32_t)device.max_mtu);

	setup->step = SHIM_STEP_CONFIGURE;
	ret = rte_eth_dev_configure(port, setup->queues, setup->queues, &conf);
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

	rte_eth_dev_set_mtu(port, asked_mtu); /* what came of it is read back and reported */
	rte_eth_dev_get_mtu(port, &setup->mtu);
	return 0;
}

void shim_port_open_ears(uint16_t port, struct shim_port_refusals *refusals)
{
	struct rte_eth_fc_conf flow_control;
	int vlan;

	memset(refusals, 0, sizeof(*refusals));
	refusals->promiscuous = rte_eth_promiscuous_enable(port);
	refusals->allmulticast = rte_eth_allmulticast_enable(port);

	memset(&flow_control, 0, sizeof(flow_control));
	if (rte_eth_dev_flow_ctrl_get(port, &flow_control) == 0 && flow_control.mode != RTE_ETH_FC_NONE) {
		flow_control.mode = RTE_ETH_FC_NONE;
		refusals->flow_control_off = rte_eth_dev_flow_ctrl_set(port, &flow_control);
	}
	vlan = rte_eth_dev_get_vlan_offload(port);
	if (vlan > 0)
		refusals->vlan_off = rte_eth_dev_set_vlan_offload(port, 0);
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
	return 0;
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

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **slots, uint16_t room)
{
	uint16_t count = rte_eth_rx_burst(port, queue, slots, room);
	uint64_t requests = 0;
	uint16_t i;

	/* Unrolled, so that the CPU need not guess where a loop of up to 64 ends. */
#pragma GCC unroll 8
	for (i = 0; i < count; i++) {
		/* Where the bytes nearly always begin; to read where would cost as much as it saves. */
		rte_prefetch0((const char *)slots[i] + sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM);
		requests |= slots[i]->ol_flags;
	}
	/* A peer's driver (virtio, vhost, a ring) may have left requests that would rewrite bytes when the frame is sent. */
	if (unlikely(requests & RTE_MBUF_F_TX_OFFLOAD_MASK))
		for (i = 0; i < count; i++)
			slots[i]->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	return count;
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **slots, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, slots, count);
}
