#include "codec.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

const char* osq_error(int status) {
  switch (status) {
    case OSQ_OK:
      return "no error";
    case OSQ_BAD_ARGUMENT:
      return "an argument is missing or out of range";
    case OSQ_TOO_LARGE:
      return "the weight has 2^28 elements or more";
    case OSQ_NO_MEMORY:
      return "there is not enough memory";
    case OSQ_SEGMENT_COUNT:
      return "the number of segments does not fit the stream";
    case OSQ_SEGMENTS:
      return "the segments do not fill the payload";
    case OSQ_PLANE_LENGTH:
      return "a plane has the wrong length";
    case OSQ_LEVEL_LENGTH:
      return "a level has the wrong length";
    case OSQ_ZEROS:
      return "a level's count of zeros is wrong";
    case OSQ_LEAVES:
      return "the leaves do not add up to the elements";
    case OSQ_INSIDE_LEAF:
      return "a level ends inside a leaf";
    case OSQ_STARTS:
      return "starts do not increase";
    case OSQ_LEAF_COUNT:
      return "too few or too many leaves";
    case OSQ_INDEX:
      return "an index is outside the codebook";
    case OSQ_DISTANCE:
      return "a distance is zero";
    case OSQ_POSITION:
      return "a position is outside the weight";
    case OSQ_ORDER:
      return "positions in a group do not increase";
    case OSQ_GROUP:
      return "a position is outside its group";
    case OSQ_SCALE_CODE:
      return "a scale code is outside the table";
    case OSQ_SCALE_VALUE:
      return "a scale is not finite and positive";
    case OSQ_VALUE:
      return "a value does not fit the bits of the stream";
    case OSQ_COUNTS:
      return "the counts do not describe the values";
    case OSQ_CODE:
      return "the code lengths do not make a complete code of at most 12 bits";
    case OSQ_PLANE_UNUSED:
      return "the unused elements of a plane are not 0";
    case OSQ_LEVEL_UNUSED:
      return "the unused bits of a level are not 0";
    case OSQ_NAME:
      return "the operator's name does not fit the weight, or is of another format version";
    case OSQ_INPUT:
      return "an input is missing, or of the wrong type or length";
    case OSQ_ATTRIBUTE:
      return "an attribute is missing, or does not fit the weight";
    case OSQ_SHAPE:
      return "the shape does not have 1 to 32 positive dimensions of less than 2^28 elements together";
    case OSQ_CODEBOOK:
      return "the codebook has too few or too many entries";
    case OSQ_TOTAL:
      return "attribute 'total' does not fit the shape";
    case OSQ_ENTRIES:
      return "the number of entries does not fit the weight";
    case OSQ_GROUPS:
      return "the groups do not fit the weight";
    case OSQ_PERM:
      return "attributes 'moved' and 'perm' do not give the shape";
    case OSQ_SCALE:
      return "the scale does not fit the weight";
    case OSQ_FILL:
      return "the value is not a single one";
    case OSQ_DELTA_SHORT:
      return "the coded differences end early";
    case OSQ_DELTA_LONG:
      return "coded differences are left over";
    default:
      return "an internal error";
  }
}

int osq_trim_memory(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return OSQ_OK;
}
