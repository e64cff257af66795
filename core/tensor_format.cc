// Printing tensors as NumPy prints arrays (array2string and repr): which elements are shown, how many digits they
// get, how columns line up and lines wrap. Rules: numpy/core/arrayprint.py with its default options.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "weir/core/error.h"
#include "weir/core/tensor.h"

namespace weir {
namespace {

std::string TrimZeros(std::string digits) {
  while (!digits.empty() && digits.back() == '0') digits.pop_back();
  return digits;
}

// A number taken apart: "-12", "5", exponent "-05" ("" if positional).
struct NumberParts {
  std::string whole, fraction, exponent;
};

NumberParts Split(const std::string& text) {
  NumberParts parts;
  const size_t e = text.find('e');
  const std::string mantissa = text.substr(0, e);
  if (e != std::string::npos) parts.exponent = text.substr(e + 1);
  const size_t point = mantissa.find('.');
  parts.whole = mantissa.substr(0, point);
  if (point != std::string::npos) parts.fraction = TrimZeros(mantissa.substr(point + 1));
  return parts;
}

// The fewest digits that read back as the same T, but at most `precision` behind the point.
template <class T>
NumberParts Digits(T value, std::chars_format format, int precision) {
  char buffer[512];
  const std::to_chars_result shortest = std::to_chars(buffer, buffer + sizeof(buffer), value, format);
  NumberParts parts = Split(std::string(buffer, shortest.ptr));
  if (static_cast<int>(parts.fraction.size()) > precision) {
    const std::to_chars_result cut =
        std::to_chars(buffer, buffer + sizeof(buffer), static_cast<double>(value), format, precision);
    parts = Split(std::string(buffer, cut.ptr));
  }
  return parts;
}

std::string PadLeft(const std::string& text, size_t width) {
  return text.size() >= width ? text : std::string(width - text.size(), ' ') + text;
}

// Chooses one form for all shown elements and writes them in it.
template <class T>
class FloatWriter {
 public:
  FloatWriter(const std::vector<T>& shown, int precision) {
    double largest = 0, smallest = INFINITY;
    bool finite = false, special = false, negative_infinity = false;
    for (T value : shown) {
      if (!std::isfinite(value)) {
        special = true;
        negative_infinity = negative_infinity || (std::isinf(value) && value < 0);
        continue;
      }
      finite = true;
      const double magnitude = std::fabs(static_cast<double>(value));
      if (magnitude == 0) continue;
      largest = std::max(largest, magnitude);
      smallest = std::min(smallest, magnitude);
    }
    if (largest > 0) scientific_ = largest >= 1e8 || smallest < 0.0001 || largest / smallest > 1000;
    if (finite) {
      for (T value : shown) {
        if (!std::isfinite(value)) continue;
        const NumberParts parts = Digits(value, Form(), precision);
        whole_width_ = std::max(whole_width_, parts.whole.size());
        fraction_width_ = std::max(fraction_width_, parts.fraction.size());
        if (scientific_) exponent_width_ = std::max(exponent_width_, parts.exponent.size());
      }
    }
    // What follows the point, exponent included.
    right_width_ = fraction_width_ + (scientific_ ? exponent_width_ + 1 : 0);
    if (special) {
      const size_t needed = negative_infinity ? 4 : 3;
      if (needed > right_width_ + 1) whole_width_ = std::max(whole_width_, needed - right_width_ - 1);
    }
  }

  std::string operator()(T value) const {
    if (std::isnan(value)) return PadLeft("nan", whole_width_ + right_width_ + 1);
    if (std::isinf(value)) return PadLeft(value < 0 ? "-inf" : "inf", whole_width_ + right_width_ + 1);
    NumberParts parts = Digits(value, Form(), static_cast<int>(fraction_width_));
    std::string text = PadLeft(parts.whole, whole_width_) + "." + parts.fraction;
    text.append(fraction_width_ - parts.fraction.size(), scientific_ ? '0' : ' ');
    if (!scientific_) return text;
    const std::string digits = parts.exponent.substr(1);
    return text + "e" + parts.exponent[0] + std::string(exponent_width_ - 1 - digits.size(), '0') + digits;
  }

 private:
  std::chars_format Form() const { return scientific_ ? std::chars_format::scientific : std::chars_format::fixed; }

  bool scientific_ = false;
  size_t whole_width_ = 0, fraction_width_ = 0, exponent_width_ = 0, right_width_ = 0;
};

// Calls `visit` with the flat index of each element that a summary of `shape` shows.
void ForEachShown(const Shape& shape, int64_t edge, bool summarise, int axis, int64_t offset,
                  const std::function<void(int64_t)>& visit) {
  if (axis == shape.rank()) {
    visit(offset);
    return;
  }
  const int64_t dim = shape[axis];
  for (int64_t i = 0; i < dim; ++i) {
    if (summarise && dim > 2 * edge && i == edge) i = dim - edge;
    ForEachShown(shape, edge, summarise, axis + 1, offset * dim + i, visit);
  }
}

std::function<std::string(int64_t)> MakeWriter(const Tensor& tensor, const std::vector<int64_t>& shown, int precision) {
  return VisitDType(tensor.dtype(), [&]<class T>(T) -> std::function<std::string(int64_t)> {
    const std::span<const T> data = tensor.data<T>();
    if constexpr (std::is_same_v<T, bool>) {
      const bool scalar = tensor.shape().rank() == 0;
      return [data, scalar](int64_t i) { return std::string(!data[i] ? "False" : scalar ? "True" : " True"); };
    } else if constexpr (std::is_integral_v<T>) {
      size_t width = 0;
      for (int64_t i : shown) width = std::max(width, std::to_string(data[i]).size());
      return [data, width](int64_t i) { return PadLeft(std::to_string(data[i]), width); };
    } else if constexpr (std::is_floating_point_v<T>) {
      std::vector<T> values;
      for (int64_t i : shown) values.push_back(data[i]);
      return [data, writer = FloatWriter<T>(values, precision)](int64_t i) { return writer(data[i]); };
    } else {
      std::vector<double> real, imaginary;
      for (int64_t i : shown) {
        real.push_back(data[i].real());
        imaginary.push_back(std::fabs(data[i].imag()));
      }
      return
          [data, re = FloatWriter<double>(real, precision), im = FloatWriter<double>(imaginary, precision)](int64_t i) {
            std::string part = im(std::fabs(data[i].imag()));
            const size_t end = part.find_last_not_of(' ') + 1;
            return re(data[i].real()) + (std::signbit(data[i].imag()) ? "-" : "+") + part.substr(0, end) + "j" +
                   std::string(part.size() - end, ' ');
          };
    }
  });
}

// The nested brackets, with elements separated by `separator` (its trailing blank dropped at a line's end).
class ArrayWriter {
 public:
  ArrayWriter(const Tensor& tensor, std::string separator, const TensorFormat& format)
      : shape_(tensor.shape()),
        separator_(std::move(separator)),
        format_(format),
        summarise_(tensor.size() > format.threshold) {
    std::vector<int64_t> shown;
    ForEachShown(shape_, format_.edge_items, summarise_, 0, 0, [&](int64_t i) { shown.push_back(i); });
    write_ = MakeWriter(tensor, shown, format_.precision);
  }

  std::string Write(int indent, int width) const {
    return Axis(0, 0, std::string(static_cast<size_t>(indent) + 1, ' '), width);
  }

 private:
  std::string Axis(int axis, int64_t offset, const std::string& indent, int width) const {
    if (axis == shape_.rank()) return write_(offset);
    const int64_t dim = shape_[axis];
    const bool cut = summarise_ && dim > 2 * format_.edge_items;
    const int rows_left = shape_.rank() - axis;
    std::string text, line = indent;
    const std::string bare_separator = separator_.substr(0, separator_.find_last_not_of(' ') + 1);
    const std::string row_separator = bare_separator + std::string(static_cast<size_t>(rows_left - 1), '\n');
    const int limit = width - std::max(static_cast<int>(bare_separator.size()), 1);
    const auto add = [&](const std::string& word, bool last) {
      if (rows_left > 1) {
        text += indent + word + (last ? "" : row_separator);
        return;
      }
      if (static_cast<int>(line.size() + word.size()) > limit && line.size() > indent.size()) {
        text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
        line = indent;
      }
      line += word;
      if (!last) line += separator_;
    };
    for (int64_t i = 0; i < dim; ++i) {
      if (cut && i == format_.edge_items) {
        add("...", false);
        i = dim - format_.edge_items;
      }
      add(Axis(axis + 1, offset * dim + i, indent + " ", width - 1), i == dim - 1);
    }
    if (rows_left == 1) text += line;
    return "[" + text.substr(indent.size()) + "]";
  }

  const Shape& shape_;
  std::string separator_;
  const TensorFormat& format_;
  bool summarise_;
  std::function<std::string(int64_t)> write_;
};

}  // namespace

std::string FormatValues(const Tensor& tensor, int indent, const TensorFormat& format) {
  if (!tensor.defined()) return "(nothing)";
  if (tensor.size() == 0) return "[]";
  return ArrayWriter(tensor, " ", format).Write(indent, format.line_width);
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor.defined()) return out << "array(nothing)";
  const TensorFormat format;
  // NumPy leaves out the types that it would choose itself for such values.
  const DType dtype = tensor.dtype();
  const bool implied =
      tensor.size() > 0 && dtype != DType::kUint8 && dtype != DType::kInt32 && dtype != DType::kFloat32;
  std::string text = "array(";
  if (tensor.size() > 0) {
    text += ArrayWriter(tensor, ", ", format).Write(static_cast<int>(text.size()), format.line_width - 1);
  } else {
    text += "[]";
    if (tensor.shape().rank() != 1) text += ", shape=" + PythonTuple(tensor.shape());
  }
  if (implied) return out << text << ")";
  text += ",";
  const std::string suffix = StrCat("dtype=", Name(dtype), ")");
  const size_t last_line = text.size() - (text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  const bool wraps = last_line + suffix.size() + 1 > static_cast<size_t>(format.line_width);
  return out << text << (wraps ? "\n      " : " ") << suffix;
}

}  // namespace weir
