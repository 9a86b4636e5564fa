// SPDX-License-Identifier: Apache-2.0
// Measures the error of every float function over all float inputs, on every instruction set.
//
//   ulp_sweep [--stride S] [--threads N] [--isa NAME] [--table FILE] [function ...]
//
// Inputs run through the bit patterns in steps of S (1: all 2^32; default 257). The reference is a
// formula in double, itself good to 2^-40; the error is measured against it unrounded, in units of
// the last place of its binade. Also checked: NaN for NaN, the sign of a zero, the same bits on
// every instruction set with FMA. --table writes what was found as a page (`make ulp`). Exits with 1
// when a bound does not hold. A function without a row in the table below is held to 2 units from its
// own kernel in double, which tests/ops/test_accuracy.py holds to mpmath; with parameters it fails.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "dispatch/cpu.h"
#include "kernels/table.h"

namespace {

using lamella::dispatch::IsaRow;
using lamella::kernels::UnaryFn;

// ---- references
double sigmoid(double x) {
  const double z = std::exp(-std::fabs(x));
  return (x >= 0 ? 1.0 : z) / (1.0 + z);
}
// y sigmoid(x), zero and not NaN where the factor vanishes.
double gated(double y, double x) {
  if (std::isnan(x)) return x;
  if (std::isinf(x)) return x > 0 ? y : -0.0;
  return y * sigmoid(x);
}
double log1p_exp(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double tanhshrink(double x) {
  const double s = x * x;
  if (std::fabs(x) < 1e-2) return x * s * (1.0 / 3 - s * (2.0 / 15 - s * (17.0 / 315)));
  return static_cast<double>(static_cast<long double>(x) - std::tanh(static_cast<long double>(x)));
}
double gelu(double x) {
  if (x == -std::numeric_limits<double>::infinity()) return -0.0;
  return 0.5 * x * std::erfc(-x * 0.70710678118654752440);
}
double gelu_tanh(double x) { return gated(x, 1.5957691216057308 * (x + 0.044715 * x * x * x)); }
double mish(double x) {
  if (std::isinf(x)) return x > 0 ? x : -0.0;
  return x * std::tanh(log1p_exp(x));
}
double softplus(double x, const float* p) {
  const float scaled = static_cast<float>(x) * p[0];
  const double beta = static_cast<double>(p[0]);
  return scaled > p[1] ? x : log1p_exp(x * beta) / beta;
}
double elu(double x, double alpha) { return x > 0 ? x : alpha * std::expm1(x); }
double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }
double hardsigmoid(double x) { return clamp(x + 3, 0, 6) / 6; }
double hardswish(double x) { return x <= -3 ? -0.0 : x * hardsigmoid(x); }
double softsign(double x) { return std::isinf(x) ? std::copysign(1.0, x) : x / (1 + std::fabs(x)); }

struct Row {
  const char* name;
  float params[2];
  double (*reference)(double x, const float* p);  // null: the kernel in double
  double bound;                                   // units in the last place
};

// Bounds promised in simd/math.h; 0.5 means correctly rounded or exact.
constexpr Row kRows[] = {
    {"exp", {}, [](double x, const float*) { return std::exp(x); }, 1.0},
    {"expm1", {}, [](double x, const float*) { return std::expm1(x); }, 1.0},
    {"log", {}, [](double x, const float*) { return std::log(x); }, 1.0},
    {"log1p", {}, [](double x, const float*) { return std::log1p(x); }, 1.0},
    {"tanh", {}, [](double x, const float*) { return std::tanh(x); }, 1.0},
    {"sigmoid", {}, [](double x, const float*) { return sigmoid(x); }, 1.0},
    {"erf", {}, [](double x, const float*) { return std::erf(x); }, 1.0},
    {"erfc", {}, [](double x, const float*) { return std::erfc(x); }, 2.0},
    {"gelu", {}, [](double x, const float*) { return gelu(x); }, 2.0},
    {"gelu_tanh", {}, [](double x, const float*) { return gelu_tanh(x); }, 2.0},
    {"silu", {}, [](double x, const float*) { return gated(x, x); }, 2.0},
    {"mish", {}, [](double x, const float*) { return mish(x); }, 2.0},
    {"softplus", {1.0f, 20.0f}, softplus, 2.0},
    {"softplus", {0.7f, 5.0f}, softplus, 2.0},
    {"logsigmoid", {}, [](double x, const float*) { return -log1p_exp(-x); }, 2.0},
    {"tanhshrink", {}, [](double x, const float*) { return tanhshrink(x); }, 2.0},
    {"elu", {1.0f}, [](double x, const float*) { return elu(x, 1.0); }, 2.0},
    {"elu",
     {0.3f},
     [](double x, const float* p) { return elu(x, static_cast<double>(p[0])); },
     2.0},
    {"celu",
     {1.7f},
     [](double x, const float* p) {
       const double alpha = static_cast<double>(p[0]);
       return x > 0 ? x : alpha * std::expm1(x / alpha);
     },
     2.0},
    {"selu",
     {},
     [](double x, const float*) { return 1.0507009873554804934 * elu(x, 1.6732632423543772848); },
     2.0},
    {"sin", {}, [](double x, const float*) { return std::sin(x); }, 1.0},
    {"cos", {}, [](double x, const float*) { return std::cos(x); }, 1.0},
    {"tan", {}, [](double x, const float*) { return std::tan(x); }, 1.0},
    {"asin", {}, [](double x, const float*) { return std::asin(x); }, 1.0},
    {"acos", {}, [](double x, const float*) { return std::acos(x); }, 1.0},
    {"atan", {}, [](double x, const float*) { return std::atan(x); }, 1.0},
    {"sinh", {}, [](double x, const float*) { return std::sinh(x); }, 1.0},
    {"cosh", {}, [](double x, const float*) { return std::cosh(x); }, 1.0},
    {"asinh", {}, [](double x, const float*) { return std::asinh(x); }, 1.0},
    {"acosh", {}, [](double x, const float*) { return std::acosh(x); }, 1.0},
    {"atanh", {}, [](double x, const float*) { return std::atanh(x); }, 1.0},
    {"sqrt", {}, [](double x, const float*) { return std::sqrt(x); }, 0.5},
    {"rsqrt", {}, [](double x, const float*) { return 1 / std::sqrt(x); }, 1.5},
    {"reciprocal", {}, [](double x, const float*) { return 1 / x; }, 0.5},
    {"square", {}, [](double x, const float*) { return x * x; }, 0.5},
    {"abs", {}, [](double x, const float*) { return std::fabs(x); }, 0.0},
    {"neg", {}, [](double x, const float*) { return -x; }, 0.0},
    {"sign",
     {},
     [](double x, const float*) {
       return x > 0 ? 1.0 : x < 0 ? -1.0 : x == 0 ? 0.0 : x;
     },
     0.0},
    {"floor", {}, [](double x, const float*) { return std::floor(x); }, 0.0},
    {"ceil", {}, [](double x, const float*) { return std::ceil(x); }, 0.0},
    {"round", {}, [](double x, const float*) { return std::nearbyint(x); }, 0.0},
    {"relu", {}, [](double x, const float*) { return x < 0 ? 0.0 : x; }, 0.0},
    {"relu6", {}, [](double x, const float*) { return clamp(x, 0, 6); }, 0.0},
    {"relu_squared", {}, [](double x, const float*) { return x < 0 ? 0.0 : x * x; }, 0.5},
    {"leaky_relu",
     {0.01f},
     [](double x, const float* p) { return x > 0 ? x : x * static_cast<double>(p[0]); },
     0.5},
    {"hardtanh",
     {-1.5f, 2.0f},
     [](double x, const float* p) {
       return clamp(x, static_cast<double>(p[0]), static_cast<double>(p[1]));
     },
     0.0},
    {"clamp",
     {-1.5f, 2.0f},
     [](double x, const float* p) {
       return clamp(x, static_cast<double>(p[0]), static_cast<double>(p[1]));
     },
     0.0},
    {"hardsigmoid", {}, [](double x, const float*) { return hardsigmoid(x); }, 1.5},
    {"hardswish", {}, [](double x, const float*) { return hardswish(x); }, 2.0},
    {"softsign", {}, [](double x, const float*) { return softsign(x); }, 1.5},
    {"softshrink",
     {0.5f},
     [](double x, const float* p) {
       const double lambda = static_cast<double>(p[0]);
       return std::fabs(x) > lambda ? x - std::copysign(lambda, x) : x * 0.0;
     },
     0.5},
    {"hardshrink",
     {0.5f},
     [](double x, const float* p) { return std::fabs(x) <= static_cast<double>(p[0]) ? 0.0 : x; },
     0.0},
    {"threshold",
     {0.1f, 20.0f},
     [](double x, const float* p) {
       return x <= static_cast<double>(p[0]) ? static_cast<double>(p[1]) : x;
     },
     0.0},
};

// ---- measuring
// |y - exact| in units of the last place of exact's binade; infinity stands for 2^128.
double ulps(float y, double exact) {
  if (std::isnan(y) || std::isnan(exact)) return std::isnan(y) && std::isnan(exact) ? 0 : INFINITY;
  if (y == 0 && std::signbit(y) != std::signbit(exact)) return INFINITY;
  const double value = std::isinf(y) ? std::copysign(0x1p128, y) : static_cast<double>(y);
  const double target = clamp(exact, -0x1p128, 0x1p128);
  if (value == target) return 0;
  const int exponent = target == 0 ? -149 : std::ilogb(target) - 23;
  return std::fabs(value - target) / std::ldexp(1.0, std::clamp(exponent, -149, 104));
}

struct Worst {
  double error = 0;
  float at = 0;
  std::uint64_t different = 0;  // results whose bits are not those of the first with FMA
};

using Entry = lamella::kernels::Entry<UnaryFn<float>>;

const Entry& find(const IsaRow& isa, std::string_view name) {
  const auto& family = isa.table().f32.elementwise->unary;
  for (std::size_t i = 0; i < family.count; ++i) {
    if (name == family.entries[i].name) return family.entries[i];
  }
  std::fprintf(stderr, "ulp_sweep: %s has no '%s'\n", isa.name, std::string(name).c_str());
  std::exit(2);
}

// Rows of the functions of an instruction set that have none above; false where one needs it.
bool add_rows(const IsaRow& isa, std::vector<Row>& rows) {
  const auto& family = isa.table().f32.elementwise->unary;
  bool good = true;
  for (std::size_t i = 0; i < family.count; ++i) {
    const std::string_view name = family.entries[i].name;
    if (std::any_of(rows.begin(), rows.end(),
                    [name](const Row& row) { return name == row.name; })) {
      continue;
    }
    if (family.entries[i].params == 0) {
      rows.push_back({family.entries[i].name, {}, nullptr, 2.0});
      continue;
    }
    std::fprintf(stderr, "ulp_sweep: '%s' of %s has parameters and no row here\n",
                 family.entries[i].name, isa.name);
    good = false;
  }
  return good;
}

// The same function in double.
double kernel_in_double(const IsaRow& isa, std::string_view name, double x) {
  const auto& family = isa.table().f64.elementwise->unary;
  for (std::size_t i = 0; i < family.count; ++i) {
    if (name != family.entries[i].name) continue;
    double y = 0;
    family.entries[i].fn(&x, &y, 1, nullptr);
    return y;
  }
  return NAN;
}

// Numbers that a stride may step over.
constexpr float kSpecials[] = {
    0.0f,     -0.0f,     0x1p-149f,        -0x1p-149f,        0x1p-126f, -0x1p-126f, 1.0f, -1.0f,
    INFINITY, -INFINITY, 0x1.fffffep+127f, -0x1.fffffep+127f, NAN,       0.5f,       3.0f, -3.0f};

// Results of every instruction set for the n inputs x against the reference; a block that ends in a
// partial vector tests that code too.
void check(const Row& row, const std::vector<IsaRow>& isas, const float* x, std::size_t n,
           std::vector<Worst>& worst) {
  std::vector<double> exact(n);
  std::vector<float> first, y(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double wide = static_cast<double>(x[i]);
    exact[i] = row.reference != nullptr ? row.reference(wide, row.params)
                                        : kernel_in_double(isas.front(), row.name, wide);
  }
  for (std::size_t k = 0; k < isas.size(); ++k) {
    find(isas[k], row.name).fn(x, y.data(), n, row.params);
    const bool fused = isas[k].table().fused_multiply_add;
    if (fused && first.empty()) first = y;
    for (std::size_t i = 0; i < n; ++i) {
      const double error = ulps(y[i], exact[i]);
      if (error > worst[k].error) worst[k] = {error, x[i], worst[k].different};
      const bool same =
          !fused || std::bit_cast<std::uint32_t>(y[i]) == std::bit_cast<std::uint32_t>(first[i]) ||
          (std::isnan(y[i]) && std::isnan(first[i]));
      worst[k].different += !same;
    }
  }
}

// Blocks number `part`, part + parts, ... of the inputs, and the specials.
void sweep(const Row& row, const std::vector<IsaRow>& isas, std::uint64_t stride,
           std::uint64_t part, std::uint64_t parts, std::vector<Worst>& worst) {
  constexpr std::uint64_t kBlock = 4096 + 5;
  std::vector<float> x(kBlock);
  const std::uint64_t total = (0x100000000u + stride - 1) / stride;
  for (std::uint64_t first = part * kBlock; first < total; first += parts * kBlock) {
    const std::size_t n = static_cast<std::size_t>(std::min(kBlock, total - first));
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = std::bit_cast<float>(static_cast<std::uint32_t>((first + i) * stride));
    }
    check(row, isas, x.data(), n, worst);
  }
  check(row, isas, kSpecials, std::size(kSpecials), worst);
}

// A row of the page: function and parameters, instruction set, worst error and its place, bound.
std::string page_row(const Row& row, const IsaRow& isa, const Worst& worst) {
  const std::size_t params = find(isa, row.name).params;
  char numbers[64] = "", text[256];
  if (params == 1)
    std::snprintf(numbers, sizeof numbers, "(%g)", static_cast<double>(row.params[0]));
  if (params == 2) {
    std::snprintf(numbers, sizeof numbers, "(%g, %g)", static_cast<double>(row.params[0]),
                  static_cast<double>(row.params[1]));
  }
  std::snprintf(text, sizeof text, "| %s%s | %s | %.4f | %a | %.1f |\n", row.name, numbers,
                isa.name, worst.error, static_cast<double>(worst.at), row.bound);
  return text;
}

bool write_page(const std::string& path, std::uint64_t stride, const std::string& rows) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) {
    std::fprintf(stderr, "ulp_sweep: %s cannot be written\n", path.c_str());
    return false;
  }
  const std::string inputs =
      stride == 1 ? "all 2^32 inputs" : "one in " + std::to_string(stride) + " of the 2^32 inputs";
  std::fprintf(file,
               "# Errors of the float32 functions\n\n"
               "Largest error over %s, in units in the last place of the exact result, and the "
               "first input that has it.\nWritten by `make ulp`; the program is "
               "[ulp_sweep.cpp](ulp_sweep.cpp).\n\n"
               "| function | instruction set | worst error | at | bound |\n"
               "| --- | --- | ---: | ---: | ---: |\n%s",
               inputs.c_str(), rows.c_str());
  return std::fclose(file) == 0;
}

bool run(const Row& row, const std::vector<IsaRow>& isas, std::uint64_t stride,
         std::uint64_t threads, std::string& page) {
  std::vector<std::vector<Worst>> found(threads, std::vector<Worst>(isas.size()));
  std::vector<std::thread> team;
  for (std::uint64_t t = 0; t < threads; ++t) {
    team.emplace_back([&, t] { sweep(row, isas, stride, t, threads, found[t]); });
  }
  for (std::thread& member : team) member.join();
  bool good = true;
  for (std::size_t k = 0; k < isas.size(); ++k) {
    Worst all;
    for (const auto& part : found) {
      // The same place for any number of threads: of equal errors the smallest bit pattern.
      const bool before = part[k].error == all.error && std::bit_cast<std::uint32_t>(part[k].at) <
                                                            std::bit_cast<std::uint32_t>(all.at);
      if (part[k].error > all.error || before) all = {part[k].error, part[k].at, all.different};
      all.different += part[k].different;
    }
    const bool holds = all.error <= row.bound && all.different == 0;
    std::printf("%-12s %-9s max %8.4f ULP at %-14a bound %.1f  other bits %llu%s\n", row.name,
                isas[k].name, all.error, static_cast<double>(all.at), row.bound,
                static_cast<unsigned long long>(all.different), holds ? "" : "  FAILED");
    page += page_row(row, isas[k], all);
    good = good && holds;
  }
  std::fflush(stdout);
  return good;
}

}  // namespace

int main(int count, char** arguments) {
  std::uint64_t stride = 257, threads = 1;
  std::string only_isa, table, page;
  std::vector<std::string> names;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (argument.starts_with("--") && i + 1 == count) {
      std::fprintf(stderr, "ulp_sweep: %s needs a value\n", arguments[i]);
      return 2;
    }
    if (argument == "--stride") {
      stride = std::strtoull(arguments[++i], nullptr, 10);
    } else if (argument == "--threads") {
      threads = std::strtoull(arguments[++i], nullptr, 10);
    } else if (argument == "--table") {
      table = arguments[++i];
    } else if (argument == "--isa") {
      only_isa = arguments[++i];
    } else {
      names.emplace_back(argument);
    }
  }
  if (stride == 0 || threads == 0) {
    std::fprintf(stderr, "ulp_sweep: --stride and --threads must be positive\n");
    return 2;
  }
  std::vector<IsaRow> isas;
  for (const IsaRow& isa : lamella::dispatch::isa_rows()) {
    if (isa.runs_here() && (only_isa.empty() || only_isa == isa.name)) isas.push_back(isa);
  }
  std::vector<Row> rows(std::begin(kRows), std::end(kRows));
  bool good = !isas.empty();
  for (const IsaRow& isa : isas) good = add_rows(isa, rows) && good;
  for (const Row& row : rows) {
    if (names.empty() || std::find(names.begin(), names.end(), row.name) != names.end()) {
      good = run(row, isas, stride, threads, page) && good;
    }
  }
  if (!table.empty()) good = write_page(table, stride, page) && good;
  return good ? 0 : 1;
}
