#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/attention/sequence_attention.h"
#include "kernels/attention/sequence_attention_run.h"

namespace dslad::kernels {
namespace {

// One row and head of queries with all that it sees, the oldest token first.
struct QueryRow {
  std::int64_t row;
  int head, kv_head;
  std::vector<std::int64_t> key_rows;
  std::vector<double> p;
  double lse = 0;
};

double dot(const float* a, const float* b, int d) {
  double sum = 0;
  for (int j = 0; j < d; ++j) sum += double{a[j]} * double{b[j]};
  return sum;
}

std::vector<std::int64_t> seen_rows(const SequenceAttentionArgs& args, const Segment& segment,
                                    std::int64_t r) {
  const TokenRun own = run_of(args.segments, segment);
  std::vector<std::int64_t> rows;
  const auto append = [&](const TokenRun& keys) {
    for (const TokenRun& seen : seen_parts(own.part(r, 1), keys, {args.window, args.sinks}))
      for (std::int64_t u = 0; u < seen.rows; ++u) rows.push_back(seen.first_row + u);
  };
  if (segment.parent >= 0) {
    append(run_of(args.segments, args.segments[static_cast<std::size_t>(segment.parent)]));
  }
  append(own);
  return rows;
}

QueryRow soften(const SequenceAttentionArgs& args, std::int64_t row, int head,
                std::vector<std::int64_t> key_rows) {
  const int d = args.head_dim;
  QueryRow result{row, head, head / (args.n_heads / args.n_kv), std::move(key_rows), {}};
  const float* q = args.q + row * args.q_stride + std::int64_t{head} * d;
  for (const std::int64_t u : result.key_rows) {
    const float* k = args.k + u * args.kv_stride + std::int64_t{result.kv_head} * d;
    result.p.push_back(double{args.scale} * dot(q, k, d));
  }
  const double largest = *std::ranges::max_element(result.p);
  double sum = 0;
  for (const double logit : result.p) sum += std::exp(logit - largest);
  result.lse = largest + std::log(sum);
  for (double& x : result.p) x = std::exp(x - result.lse);
  return result;
}

template <class Body>
void for_each_query_row(const SequenceAttentionArgs& args, const Body& body) {
  for (const Segment& segment : args.segments) {
    for (std::int64_t r = 0; r < segment.rows; ++r) {
      for (int head = 0; head < args.n_heads; ++head) {
        body(soften(args, segment.first_row + r, head, seen_rows(args, segment, r)));
      }
    }
  }
}

double entropy_of(const std::vector<double>& p) {
  double entropy = 0;
  for (const double x : p) entropy -= x > 0 ? x * std::log(x) : 0;
  return entropy;
}

// dk and dv of the whole batch [R, n_kv, d]: rows of them receive from many queries.
struct KeyGradients {
  explicit KeyGradients(const SequenceAttentionArgs& args) : width(std::int64_t{args.n_kv} * args.head_dim) {
    std::int64_t rows = 0;
    for (const Segment& segment : args.segments) rows = std::max(rows, segment.first_row + segment.rows);
    dk.resize(static_cast<std::size_t>(rows * width));
    dv = dk;
  }
  std::int64_t width;
  std::vector<double> dk, dv;
};

void differentiate(const SequenceAttentionBackwardArgs& args, const QueryRow& at, KeyGradients& sums) {
  const SequenceAttentionArgs& f = args.forward;
  const int d = f.head_dim;
  const std::int64_t query_channel = std::int64_t{at.head} * d, key_channel = std::int64_t{at.kv_head} * d;
  const float* q = f.q + at.row * f.q_stride + query_channel;
  const float* d_o = args.d_o + at.row * f.o_stride + query_channel;
  std::vector<double> dp, dq(static_cast<std::size_t>(d));
  double mean = 0;  // D_t, without the rounding of o
  for (std::size_t u = 0; u < at.p.size(); ++u) {
    mean += at.p[u] * dp.emplace_back(dot(d_o, f.v + at.key_rows[u] * f.kv_stride + key_channel, d));
  }
  for (std::size_t u = 0; u < at.p.size(); ++u) {
    const double dl = f.scale * at.p[u] * (dp[u] - mean);
    const float* k = f.k + at.key_rows[u] * f.kv_stride + key_channel;
    const auto sum = static_cast<std::size_t>(at.key_rows[u] * sums.width + key_channel);
    for (int j = 0; j < d; ++j) {
      dq[j] += dl * k[j];
      sums.dk[sum + j] += dl * q[j];
      sums.dv[sum + j] += at.p[u] * d_o[j];
    }
  }
  std::ranges::copy(dq, args.dq + at.row * args.dq_stride + query_channel);
}

}  // namespace

void sequence_attention_ref(const SequenceAttentionArgs& args) {
  const int d = args.head_dim;
  for_each_query_row(args, [&](const QueryRow& at) {
    for (int j = 0; j < d; ++j) {
      double o = 0;
      for (std::size_t u = 0; u < at.p.size(); ++u) {
        o += at.p[u] * args.v[at.key_rows[u] * args.kv_stride + std::int64_t{at.kv_head} * d + j];
      }
      args.o[at.row * args.o_stride + std::int64_t{at.head} * d + j] = static_cast<float>(o);
    }
    args.lse[at.row * args.n_heads + at.head] = static_cast<float>(at.lse);
    if (args.entropy != nullptr) {
      args.entropy[at.row * args.n_heads + at.head] = static_cast<float>(entropy_of(at.p));
    }
  });
}

void sequence_attention_backward_ref(const SequenceAttentionBackwardArgs& args) {
  KeyGradients sums(args.forward);
  for_each_query_row(args.forward, [&](const QueryRow& at) { differentiate(args, at, sums); });
  for (const Segment& segment : args.forward.segments) {
    for (std::int64_t row = segment.first_row; row < segment.first_row + segment.rows; ++row) {
      for (std::int64_t j = 0; j < sums.width; ++j) {
        args.dk[row * args.dkv_stride + j] = static_cast<float>(sums.dk[row * sums.width + j]);
        args.dv[row * args.dkv_stride + j] = static_cast<float>(sums.dv[row * sums.width + j]);
      }
    }
  }
}

}  // namespace dslad::kernels
